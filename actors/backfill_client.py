"""The writer as backfills see it: the port BackfillStore, met by calls to the named actor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.clients import LONG_SECONDS, WriterClient
from actors.handles import WRITER, Remote
from cluster.ingest.backfills import Backfill, BackfillState, Changes, PartKey
from cluster.records import Batch


class BackfillClient(WriterClient):
    """Meets BackfillStore, and everything that its parent meets. Any thread may call it."""

    def __init__(self) -> None:
        super().__init__()
        self._backfills = Remote(WRITER)

    def open_backfill(self, asked: Backfill) -> Backfill:
        """See BackfillStore."""
        return self._one("open_backfill", asked)

    def backfill_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore."""
        found: NDArray[np.int64] = self._call("backfill_positions", backfill_id, key, first, following)
        return found

    def commit_backfill(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore."""
        return self._one("commit_backfill", backfill_id, batch)

    def backfill_changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore."""
        found: Changes = self._call("backfill_changes", backfill_id, key)
        return found

    def publish_backfill(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore."""
        return self._one("publish_backfill", backfill_id, key, up_to)

    def end_backfill(self, backfill_id: str, state: BackfillState, note: str = "") -> Backfill:
        """See BackfillStore."""
        return self._one("end_backfill", backfill_id, state, note)

    def get_backfill(self, backfill_id: str) -> Backfill:
        """See BackfillStore."""
        return self._one("get_backfill", backfill_id)

    def list_backfills(self, limit: int = 100) -> list[Backfill]:
        """See BackfillStore."""
        return list(self._call("list_backfills", limit))

    def unpublished_backfills(self) -> list[Backfill]:
        """See BackfillStore."""
        return list(self._call("unpublished_backfills"))

    def _one(self, method: str, *args: Any) -> Backfill:
        backfill: Backfill = self._call(method, *args)
        return backfill

    def _call(self, method: str, *args: Any) -> Any:
        return self._backfills.call(method, *args, seconds=LONG_SECONDS)
