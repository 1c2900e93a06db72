"""The only process that opens the DuckDB file: commits, uploads, and reads on cursors of their own.

Calls arrive on threads (Ray's concurrency groups), so a slow read or a large file never blocks a commit. A process
that dies is built anew by Ray, and its state comes back from the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from actors.ending import on_sigterm
from actors.handles import WRITER
from actors.metrics import RayMetrics
from actors.writer_backfills import WriterBackfills
from cluster.app import App
from cluster.errors import Misconfigured, Refused
from cluster.ingest.resets import Reset
from cluster.priority import give_way
from cluster.records import Batch, Origin, PartitionStart
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms, join
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.duckdb_status import WriterStatus
from cluster.stores.duckdb_windows import changes, page
from cluster.stores.ports import Definitions, Shipped, Upload, UploadState
from cluster.telemetry import set_up_logs
from cluster.windows.panes import Pane
from cluster.windows.ports import Since, WindowChanges, WindowPage

# A predecessor that was killed may need a moment to let go of the file.
LOCK_SECONDS = 30
GROUPS = {"commits": 256, "uploads": 32, "reads": 8, "windows": 1, "control": 4}


@retry(
    retry=retry_if_exception_type((Misconfigured, Refused)),
    stop=stop_after_delay(LOCK_SECONDS),
    wait=wait_fixed(0.5),
    reraise=True,
)
def open_store(app: App) -> DuckStore:
    """Open the app's file, waiting for a dying predecessor."""
    offline = app.config.offline_store
    path = Path(app.folder) / offline.path
    if ray.get_runtime_context().was_current_actor_reconstructed and not path.exists():
        # A new file would begin a new history, and Ray may have found another disk under the same label.
        raise Misconfigured(f"{path} is not on this node: bring it back, or start with a new one by `raytide up`")
    return DuckStore(offline.model_copy(update={"path": str(path)}), metrics=RayMetrics())


class Writer(WriterBackfills):
    """Gives `DuckStore` and its reads a process. Each method is what the port of the same name says."""

    def __init__(self, app: App) -> None:
        set_up_logs(app.config.telemetry, actor=WRITER)
        self._store = open_store(app)
        self._reads = DuckReads(self._store.database, app.config.offline_store)
        # Windows follow commits: they must not wait for a turn behind reads that take minutes.
        alone = app.config.offline_store.model_copy(update={"concurrent_reads": 1})
        self._window_reads = DuckReads(self._store.database, alone)
        self._ended = threading.Event()
        on_sigterm(self.close)

    def __repr__(self) -> str:
        return WRITER

    @ray.method(concurrency_group="commits")
    def commit(self, batch: Batch) -> None:
        """See OfflineStore."""
        with self._alive():
            self._store.commit(batch)

    @ray.method(concurrency_group="control")
    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None = None) -> PartitionStart:
        """See OfflineStore."""
        with self._alive():
            return self._store.open_partition(topic, partition, beginning, topic_id)

    @ray.method(concurrency_group="control")
    def reset_partition(self, reset: Reset) -> PartitionStart:
        """See OfflineStore."""
        with self._alive():
            return self._store.reset_partition(reset)

    @ray.method(concurrency_group="control")
    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""
        with self._alive():
            return self._store.register(definitions)

    @ray.method(concurrency_group="control")
    def in_force(self, after: int) -> Shipped | None:
        """See OfflineStore."""
        with self._alive():
            return self._store.in_force(after)

    @ray.method(concurrency_group="control")
    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        with self._alive():
            return self._store.shipped(version)

    @ray.method(concurrency_group="uploads")
    def begin_upload(self, upload: Upload) -> Upload:
        """See OfflineStore."""
        with self._alive():
            return self._store.begin_upload(upload)

    @ray.method(concurrency_group="uploads")
    def set_upload_state(self, upload_id: str, state: UploadState, error: str) -> Upload:
        """See OfflineStore."""
        with self._alive():
            return self._store.set_upload_state(upload_id, state, error)

    @ray.method(concurrency_group="uploads")
    def open_upload(self, upload_id: str, origin: Origin) -> None:
        """See OfflineStore."""
        with self._alive():
            self._store.open_upload(upload_id, origin)

    @ray.method(concurrency_group="uploads")
    def append_upload(self, upload_id: str, piece: int, batch: Batch) -> None:
        """See OfflineStore."""
        give_way()
        with self._alive():
            self._store.append_upload(upload_id, piece, batch)

    @ray.method(concurrency_group="uploads")
    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        """See OfflineStore."""
        give_way()
        with self._alive():
            return self._store.commit_upload(upload_id, pieces)

    @ray.method(concurrency_group="uploads")
    def abort_upload(self, upload_id: str) -> None:
        """See OfflineStore."""
        self._store.abort_upload(upload_id)

    @ray.method(concurrency_group="uploads")
    def upload_newest(self, upload_id: str, features: list[str]) -> list[pa.Table]:
        """See OfflineStore."""
        give_way()
        return list(self._store.upload_newest(upload_id, features))

    @ray.method(concurrency_group="uploads")
    def commit_replay(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """See OfflineStore."""
        with self._alive():
            return self._store.commit_replay(replay_id, of, batch)

    @ray.method(concurrency_group="uploads")
    def unpublished_replays(self) -> list[str]:
        """See OfflineStore."""
        with self._alive():
            return self._store.unpublished_replays()

    @ray.method(concurrency_group="uploads")
    def replay_newest(self, replay_id: str, features: list[str]) -> list[pa.Table]:
        """See OfflineStore."""
        return list(self._store.replay_newest(replay_id, features))

    @ray.method(concurrency_group="uploads")
    def finish_replay(self, replay_id: str) -> None:
        """See OfflineStore."""
        with self._alive():
            self._store.finish_replay(replay_id)

    @ray.method(concurrency_group="uploads")
    def get_upload(self, upload_id: str) -> Upload:
        """See OfflineStore."""
        return self._store.get_upload(upload_id)

    @ray.method(concurrency_group="uploads")
    def list_uploads(self, limit: int) -> list[Upload]:
        """See OfflineStore."""
        return self._store.list_uploads(limit)

    @ray.method(concurrency_group="reads")
    def query(self, sql: str, parameters: Sequence[Any], max_rows: int | None) -> pa.Table:
        """See OfflineStore."""
        give_way()
        return self._reads.query(sql, parameters, max_rows=max_rows)

    @ray.method(concurrency_group="reads")
    def sql(self, statement: str) -> pa.Table:
        """See OfflineStore."""
        give_way()
        return self._reads.sql(statement)

    @ray.method(concurrency_group="reads")
    def join(self, asked: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read_id: str) -> pa.Table:
        """See cluster.serving.asof."""
        give_way()
        return join(self._reads, asked, specs, terms, read_id)

    @ray.method(concurrency_group="windows")
    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, whole: bool) -> WindowChanges:  # noqa: FBT001 - a remote call
        """See WindowHistory."""
        return changes(self._window_reads, panes, since, now_us, whole=whole)

    @ray.method(concurrency_group="windows")
    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        """See WindowHistory."""
        return page(self._window_reads, panes, above, up_to, now_us)

    @ray.method(concurrency_group="control")
    def cancel_read(self, read_id: str) -> None:
        """See DuckReads."""
        self._reads.cancel(read_id)

    @ray.method(concurrency_group="control")
    def snapshot(self) -> WriterStatus:
        """Return what `raytide status` shows of the writer."""
        return self._store.snapshot()

    @ray.method(concurrency_group="control")
    def close(self) -> None:
        """Finish what waits, write a checkpoint, and let go of the file."""
        self._ended.set()
        self._store.close()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """End the process when the database turns out to be beyond use: a new one starts from the file."""
        try:
            yield
        finally:
            if not self._store.healthy and not self._ended.is_set():
                os._exit(1)
