"""DuckDB as the offline store: history, ledger, quarantine and uploads in one file (decision 0005)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.clock import now_us
from cluster.config import OfflineStoreConfig
from cluster.errors import Refused
from cluster.ingest.backfills import Backfill, BackfillState, Changes, PartKey
from cluster.ingest.resets import Reset
from cluster.monitoring.metrics import NO_METRICS, Metrics
from cluster.records import Batch, Origin, PartitionStart
from cluster.stores.duckdb_backfills import BackfillTable
from cluster.stores.duckdb_clustering import Clustering, HistoryOrder
from cluster.stores.duckdb_committer import Committer, Terms
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_errors import Health
from cluster.stores.duckdb_files import UploadFiles
from cluster.stores.duckdb_group import StreamTables
from cluster.stores.duckdb_newest import OF_POSITIONS, OF_UPLOAD, newest_of
from cluster.stores.duckdb_registry import RegistryTable
from cluster.stores.duckdb_replays import ReplayTable
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_status import PartitionLedger, WriterStatus
from cluster.stores.duckdb_uploads import UploadTable
from cluster.stores.ports import Definitions, Shipped, Upload, UploadState
from cluster.stores.upload_rules import AFTER_COMMIT

__all__ = ["DuckStore", "WriterStatus"]

#: How long a batch waits for the one before it. Its sender keeps two or three in flight, so that one is on its way.
PATIENCE_S = 5.0


class DuckStore:
    """The write half of the OfflineStore port. Any thread may call any method; opening the file may be refused.

    A new store on the same file goes on where the last ended: all it knows is in the file.
    """

    def __init__(
        self,
        config: OfflineStoreConfig,
        now_us: Callable[[], int] = now_us,
        patience_s: float = PATIENCE_S,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self.database = DuckDatabase(config)
        self._health = Health()
        self._cursors = [self.database.cursor() for _ in range(4)]
        streams, uploads, registry, replays = self._cursors
        sources = SourceIds(streams)
        terms = Terms(patience_s, metrics)
        self._committer = Committer(StreamTables(streams, sources, now_us), self._health, config, terms)
        self._uploads = UploadTable(uploads, now_us)
        self._files = UploadFiles(self.database.cursor, sources, self._uploads, now_us, self.database.path.parent)
        self._replays = ReplayTable(replays, sources, now_us)
        moving = threading.Lock()
        self._backfills = BackfillTable(self.database.cursor(), sources, now_us, moving)
        self._clustering = Clustering(
            HistoryOrder(self.database.cursor(), config.clustering_rows, moving),
            self._health,
            config,
            is_to_wait=lambda: self._files.is_busy,
        )
        self._registry = RegistryTable(registry, now_us)

    @property
    def healthy(self) -> bool:
        """Answer whether this process can still write; if not, it must be replaced."""
        return bool(self._health)

    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None = None) -> PartitionStart:
        """See OfflineStore."""
        return self._committer.open_partition((topic, partition), beginning, topic_id)

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """See OfflineStore."""
        return self._committer.reset_partition(reset)

    def commit(self, batch: Batch) -> None:
        """See OfflineStore. Blocks while too many bytes wait, then until the batch is durable."""
        self.submit(batch).result()

    def submit(self, batch: Batch) -> Future[None]:
        """Start `commit`; the future ends when the batch is durable, or with its error."""
        return self._committer.submit(batch)

    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""
        with self._health.guard("registry version"):
            return self._registry.register(definitions)

    def in_force(self, after: int) -> Shipped | None:
        """See OfflineStore."""
        with self._health.guard("registry version"):
            return self._registry.in_force(after)

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        with self._health.guard("registry version"):
            return self._registry.shipped(version)

    def begin_upload(self, upload: Upload) -> Upload:
        """See OfflineStore. A known upload that FAILED may try again: it is RECEIVING afterwards."""
        with self._health.guard(f"upload {upload.upload_id}"):
            return self._uploads.begin(upload)

    def set_upload_state(self, upload_id: str, state: UploadState, error: str = "") -> Upload:
        """See OfflineStore. Any state but PROCESSING drops what was appended; COMMITTED only becomes DONE."""
        with self._health.guard(f"upload {upload_id}"):
            return self._files.set_state(upload_id, state, error)

    def open_upload(self, upload_id: str, origin: Origin) -> None:
        """See OfflineStore. The upload is PROCESSING afterwards."""
        with self._health.guard(f"upload {upload_id}"):
            self._files.open(upload_id, origin)

    def append_upload(self, upload_id: str, piece: int, batch: Batch) -> None:
        """See OfflineStore. Refused when what was appended went with an earlier writer process: open it again."""
        with self._health.guard(f"piece {piece} of upload {upload_id}"):
            self._files.append(upload_id, piece, batch)

    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        """See OfflineStore. Refused while pieces are missing; after RetryLater it can be called again as it is."""
        with self._health.guard(f"commit of upload {upload_id}"):
            return self._files.commit(upload_id, pieces)

    def abort_upload(self, upload_id: str) -> None:
        """See OfflineStore."""
        with self._health.guard(f"upload {upload_id}"):
            self._files.abort(upload_id)

    def upload_newest(self, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        if (state := self.get_upload(upload_id).state) not in AFTER_COMMIT:
            raise Refused(f"upload {upload_id} is {state}: its rows are not in history yet")
        return self._newest(f"upload {upload_id}", OF_UPLOAD, features, upload_id)

    def commit_replay(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """See OfflineStore."""
        with self._health.guard(f"replay of {batch.events} rejects"):
            return self._replays.commit(replay_id, of, batch)

    def unpublished_replays(self) -> list[str]:
        """See OfflineStore."""
        with self._health.guard("list of replays"):
            return self._replays.unpublished()

    def replay_newest(self, replay_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        with self._health.guard(f"replay {replay_id}"):
            span = self._replays.span(replay_id)
        return self._newest(f"replay {replay_id}", OF_POSITIONS, features, *span)

    def finish_replay(self, replay_id: str) -> None:
        """See OfflineStore."""
        with self._health.guard(f"replay {replay_id}"):
            self._replays.finish(replay_id)

    def open_backfill(self, asked: Backfill) -> Backfill:
        """See BackfillStore."""
        with self._health.guard(f"backfill of {asked.view}"):
            return self._backfills.open(asked)

    def backfill_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore."""
        with self._health.guard(f"backfill {backfill_id}"):
            return self._backfills.old_positions(backfill_id, key, first, following)

    def commit_backfill(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore."""
        with self._health.guard(f"a chunk of backfill {backfill_id}"):
            return self._backfills.commit(backfill_id, batch)

    def backfill_changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore."""
        with self._health.guard(f"changes of backfill {backfill_id}"):
            return self._backfills.changes(backfill_id, key)

    def publish_backfill(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore."""
        with self._health.guard(f"backfill {backfill_id}"):
            return self._backfills.published(backfill_id, key, up_to)

    def end_backfill(self, backfill_id: str, state: BackfillState, note: str = "") -> Backfill:
        """See BackfillStore."""
        with self._health.guard(f"backfill {backfill_id}"):
            return self._backfills.end(backfill_id, state, note)

    def get_backfill(self, backfill_id: str) -> Backfill:
        """See BackfillStore."""
        with self._health.guard(f"backfill {backfill_id}"):
            return self._backfills.get(backfill_id)

    def list_backfills(self, limit: int = 100) -> list[Backfill]:
        """See BackfillStore."""
        with self._health.guard("list of backfills"):
            return self._backfills.newest(limit)

    def unpublished_backfills(self) -> list[Backfill]:
        """See BackfillStore."""
        with self._health.guard("list of backfills"):
            return self._backfills.unpublished()

    def get_upload(self, upload_id: str) -> Upload:
        """See OfflineStore."""
        with self._health.guard(f"upload {upload_id}"):
            return self._uploads.get(upload_id)

    def list_uploads(self, limit: int = 100) -> list[Upload]:
        """See OfflineStore."""
        with self._health.guard("list of uploads"):
            return self._uploads.newest(limit)

    def snapshot(self) -> WriterStatus:
        """Return one look at the writer."""
        seen = self._committer.status
        file_bytes, wal_bytes = self.database.bytes_on_disk
        uploads, oldest_upload_at = self._uploads.counts()
        return WriterStatus(
            healthy=self.healthy,
            partitions=tuple(
                PartitionLedger(*key, start.epoch, start.next_offset, seen.committed_at.get(key))
                for key, start in sorted(seen.starts.items())
            ),
            rows=seen.rows,
            rejected=seen.rejected,
            batches=seen.batches,
            transactions=seen.transactions,
            last_commit_ms=seen.last_commit_ms,
            waiting_batches=seen.waiting_batches,
            waiting_bytes=seen.waiting_bytes,
            file_bytes=file_bytes,
            wal_bytes=wal_bytes,
            free_bytes=self.database.free_bytes,
            uploads=uploads,
            oldest_upload_at=oldest_upload_at,
        )

    def close(self) -> None:
        """Commit what waits, forget files that are open, and let go of the database."""
        self._clustering.close()
        self._committer.close()
        self._files.close()
        self._backfills.close()
        for cursor in self._cursors:
            cursor.close()
        self.database.close()

    def _newest(self, what: str, statement: str, features: Sequence[str], *parameters: str | int) -> Iterator[pa.Table]:
        with self._health.guard(f"newest rows of {what}"), closing(self.database.cursor()) as cursor:
            yield from newest_of(cursor, statement, features, *parameters)
