"""The writer's methods for backfills, beside those for files: they may take as long, and never stall a stream."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.ingest.backfills import Backfill, BackfillState, Changes, PartKey
from cluster.records import Batch
from cluster.stores.duckdb import DuckStore


class WriterBackfills:
    """Half of the writer. Each method is what the port BackfillStore says."""

    _store: DuckStore

    def _alive(self) -> AbstractContextManager[None]:
        """End the process when the database turns out to be beyond use."""
        raise NotImplementedError

    @ray.method(concurrency_group="uploads")
    def open_backfill(self, asked: Backfill) -> Backfill:
        """See BackfillStore."""
        with self._alive():
            return self._store.open_backfill(asked)

    @ray.method(concurrency_group="uploads")
    def backfill_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore."""
        with self._alive():
            return self._store.backfill_positions(backfill_id, key, first, following)

    @ray.method(concurrency_group="uploads")
    def commit_backfill(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore."""
        with self._alive():
            return self._store.commit_backfill(backfill_id, batch)

    @ray.method(concurrency_group="uploads")
    def backfill_changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore."""
        with self._alive():
            return self._store.backfill_changes(backfill_id, key)

    @ray.method(concurrency_group="uploads")
    def publish_backfill(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore."""
        with self._alive():
            return self._store.publish_backfill(backfill_id, key, up_to)

    @ray.method(concurrency_group="uploads")
    def end_backfill(self, backfill_id: str, state: BackfillState, note: str) -> Backfill:
        """See BackfillStore."""
        with self._alive():
            return self._store.end_backfill(backfill_id, state, note)

    @ray.method(concurrency_group="uploads")
    def get_backfill(self, backfill_id: str) -> Backfill:
        """See BackfillStore."""
        with self._alive():
            return self._store.get_backfill(backfill_id)

    @ray.method(concurrency_group="uploads")
    def list_backfills(self, limit: int) -> list[Backfill]:
        """See BackfillStore."""
        with self._alive():
            return self._store.list_backfills(limit)

    @ray.method(concurrency_group="uploads")
    def unpublished_backfills(self) -> list[Backfill]:
        """See BackfillStore."""
        with self._alive():
            return self._store.unpublished_backfills()
