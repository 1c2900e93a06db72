"""The writer and the limiter as other actors see them: the ports of `cluster/`, met by calls to named actors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pyarrow as pa
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from actors.handles import LIMITER, WRITER, Remote, value
from cluster.errors import RetryLater
from cluster.ingest.leases import Claim
from cluster.ingest.resets import Reset
from cluster.records import Batch, Origin, PartitionStart
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms
from cluster.stores.duckdb_status import WriterStatus
from cluster.stores.duckdb_windows import ENTITIES_ON_A_PAGE
from cluster.stores.ports import Definitions, Shipped, Upload, UploadState
from cluster.verify.newest import ranges
from cluster.windows.panes import Pane, inputs_of
from cluster.windows.ports import Since, WindowChanges, WindowPage

LONG_SECONDS = 600.0
_patiently = retry(
    retry=retry_if_exception_type(RetryLater),
    wait=wait_random_exponential(0.1, max=2),
    stop=stop_after_delay(60),
    reraise=True,
)


class WriterClient:
    """Meets OfflineStore and Ledger. Any thread may call it."""

    def __init__(self) -> None:
        self._writer = Remote(WRITER)

    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None = None) -> PartitionStart:
        """See OfflineStore."""
        start: PartitionStart = self._writer.call("open_partition", topic, partition, beginning, topic_id)
        return start

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """See OfflineStore."""
        start: PartitionStart = self._writer.call("reset_partition", reset)
        return start

    def submit(self, batch: Batch) -> Future[None]:
        """See Ledger."""
        return self._writer.submit("commit", batch)

    def commit(self, batch: Batch) -> None:
        """See OfflineStore."""
        self._writer.call("commit", batch)

    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""
        return int(self._writer.call("register", definitions))

    def in_force(self, after: int) -> Shipped | None:
        """See OfflineStore."""
        found: Shipped | None = self._writer.call("in_force", after)
        return found

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        return bytes(self._writer.call("shipped", version))

    def begin_upload(self, upload: Upload) -> Upload:
        """See OfflineStore."""
        return self._upload("begin_upload", upload)

    def set_upload_state(self, upload_id: str, state: UploadState, error: str = "") -> Upload:
        """See OfflineStore."""
        return self._upload("set_upload_state", upload_id, state, error)

    def open_upload(self, upload_id: str, origin: Origin) -> None:
        """See OfflineStore."""
        self._writer.call("open_upload", upload_id, origin)

    def append_upload(self, upload_id: str, piece: int, batch: Batch) -> None:
        """See OfflineStore."""
        self._writer.call("append_upload", upload_id, piece, batch)

    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        """See OfflineStore."""
        return self._upload("commit_upload", upload_id, pieces)

    def abort_upload(self, upload_id: str) -> None:
        """See OfflineStore."""
        self._writer.call("abort_upload", upload_id)

    def upload_newest(self, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        yield from self._writer.call("upload_newest", upload_id, list(features), seconds=LONG_SECONDS)

    def commit_replay(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """See OfflineStore."""
        return int(self._writer.call("commit_replay", replay_id, of, batch))

    def unpublished_replays(self) -> list[str]:
        """See OfflineStore."""
        return list(self._writer.call("unpublished_replays"))

    def replay_newest(self, replay_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        yield from self._writer.call("replay_newest", replay_id, list(features), seconds=LONG_SECONDS)

    def finish_replay(self, replay_id: str) -> None:
        """See OfflineStore."""
        self._writer.call("finish_replay", replay_id)

    def get_upload(self, upload_id: str) -> Upload:
        """See OfflineStore."""
        return self._upload("get_upload", upload_id)

    def list_uploads(self, limit: int = 100) -> list[Upload]:
        """See OfflineStore."""
        return list(self._writer.call("list_uploads", limit))

    def query(self, sql: str, parameters: Sequence[Any] = (), *, max_rows: int | None = None) -> pa.Table:
        """See OfflineStore."""
        return self._writer.call("query", sql, parameters, max_rows=max_rows, seconds=LONG_SECONDS)

    def sql(self, statement: str) -> pa.Table:
        """See OfflineStore."""
        return self._writer.call("sql", statement, seconds=LONG_SECONDS)

    def join(self, asked: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read_id: str) -> pa.Table:
        """Return features as they were at each row's time; see cluster.serving.asof."""
        return self._writer.call("join", asked, specs, terms, read_id, seconds=LONG_SECONDS)

    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
        """See WindowHistory."""
        found: WindowChanges = self._writer.call("window_changes", panes, since, now_us, whole, seconds=LONG_SECONDS)
        return found

    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        """See WindowHistory."""
        found: WindowPage = self._writer.call("window_page", panes, above, up_to, now_us, seconds=LONG_SECONDS)
        return found

    def window_ranges(self, panes: Sequence[Pane]) -> list[tuple[str, str | None]]:
        """See WindowHistory."""
        return ranges(self, inputs_of(panes), ENTITIES_ON_A_PAGE)

    def cancel_read(self, read_id: str) -> None:
        """Have a read stopped; raise RetryLater while the writer is away. Does not wait."""
        self._writer.start("cancel_read", read_id)

    def snapshot(self) -> WriterStatus:
        """Return the writer's status; raise RetryLater while it is away."""
        status: WriterStatus = self._writer.call("snapshot", seconds=5.0)
        return status

    def _upload(self, method: str, *args: Any) -> Upload:
        upload: Upload = self._writer.call(method, *args, seconds=LONG_SECONDS)
        return upload


class SlotClient:
    """Meets Slot: one holder's claim on a worker slot. Caller: one thread."""

    RENEW_SECONDS = 1.0

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._limiter = Remote(LIMITER)
        self._asked_at: float | None = None

    def hold(self) -> None:
        """Return when the slot is ours; ask again once a second, which passes it on when somebody waits for it."""
        if self._asked_at is not None and time.monotonic() - self._asked_at < self.RENEW_SECONDS:
            return
        self._acquire(yielding=self._asked_at is not None)
        self._asked_at = time.monotonic()

    @_patiently
    def ask(self) -> Any:
        """Ask for the slot without waiting; return Ray's reference, which is ready when it is ours. Then `take` it."""
        self._asked_at = time.monotonic()
        return self._limiter.start("acquire", self._claim, yielding=False)

    def take(self, asked: Any) -> None:
        """Return when the slot that was asked for is ours; ask again when the limiter died meanwhile."""
        try:
            value(asked, LIMITER)
        except RetryLater:
            self._limiter.forget()
            self.renew()

    def renew(self) -> None:
        """Keep the slot, whoever waits: a task cannot be interrupted."""
        self._acquire(yielding=False)

    def release(self) -> None:
        """Give the slot back; harmless when there is none."""
        if self._asked_at is not None:
            self._asked_at = None
            # A limiter that is away has forgotten the slot anyway, or will when its time is over.
            with contextlib.suppress(RetryLater):
                self._limiter.call("release", self._claim.holder)

    @_patiently
    def _acquire(self, *, yielding: bool) -> None:
        self._limiter.call("acquire", self._claim, yielding=yielding, seconds=LONG_SECONDS)
