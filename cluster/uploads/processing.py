"""From a file in the spool to DONE: each step can be done again, so a restart continues where the last process was.

RECEIVING or STORED -> PROCESSING: pieces into the file's transaction, from the start again when the writer lost it.
PROCESSING -> COMMITTED: the writer makes them durable. COMMITTED -> DONE: the newest values are online.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_any,
    stop_never,
    stop_when_event_set,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from cluster.errors import BadFile, Misconfigured, RaytideError, Refused, RetryLater
from cluster.faults import Point, reach
from cluster.ingest.split import Format, Piece, split
from cluster.monitoring.metrics import NO_METRICS, UPLOAD_EVENTS, UPLOAD_REJECTS, Metrics
from cluster.records import Origin
from cluster.registry.catalog import Catalog
from cluster.stores.ports import OfflineStore, OnlineStore, UploadState
from cluster.stores.upload_rules import AFTER_COMMIT
from cluster.uploads.job import CANCELLED, Cancelled, Job
from cluster.uploads.manifest import Bounds, split_options
from cluster.uploads.pieces import PieceRunner
from cluster.uploads.rejects import NAMED, Tally
from cluster.uploads.spool import Spool

ATTEMPTS = 3
LONGEST_PAUSE_S = 10.0


class Stopping(RetryLater):
    """This process is shutting down; the file's state says where the next one continues."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What working on a file needs. `first_pause_s` is the first of the growing pauses between attempts."""

    offline: OfflineStore
    online: OnlineStore
    catalog: Callable[[], Catalog]
    runner: PieceRunner
    spool: Spool
    now_us: Callable[[], int]
    bounds: Bounds
    metrics: Metrics = NO_METRICS
    first_pause_s: float = 0.5


class Processor:
    """Works on one file at a time in each thread that calls `process`."""

    def __init__(self, parts: Parts, stop: threading.Event) -> None:
        self._parts, self._stop = parts, stop
        self._log = structlog.get_logger()

    def process(self, job: Job) -> None:
        """See a file through to DONE, or CANCELLED; raise why it FAILED, or Stopping when told to stop before."""
        if job.upload.state is not UploadState.COMMITTED:
            self._store_or_fail(job)
        if job.upload.state is not UploadState.CANCELLED:
            # The rows are durable: whatever happens, the file did not fail, and is not done before it is.
            self._patiently(_is_ours, lambda: self._publish(job))
            reach(Point.DONE)
        self._parts.spool.touch(job.upload.upload_id, self._parts.now_us())

    def _store_or_fail(self, job: Job) -> None:
        try:
            self._store(job)
        except Stopping:
            raise
        except Exception as error:  # noqa: BLE001 - a file must not stay PROCESSING for ever
            ours = error if isinstance(error, RaytideError) else self._unexpected()
            if self._ends(job, ours) is UploadState.FAILED:
                self._parts.spool.touch(job.upload.upload_id, self._parts.now_us())
                raise ours from None

    def _ends(self, job: Job, error: RaytideError) -> UploadState:
        """Return how a file ended that was given up with `error`: it may be durable, or cancelled, all the same."""
        self._patiently(_is_away, lambda: self._refresh(job))
        if job.upload.state not in (*AFTER_COMMIT, UploadState.CANCELLED):
            try:
                self.fail(job, error)
            except Refused:  # somebody cancelled it since the look
                self._patiently(_is_away, lambda: self._refresh(job))
        return job.upload.state

    def fail(self, job: Job, error: RaytideError) -> None:
        """Record that nothing of a file was stored, and why; wait for the writer if it is away. Its original is kept."""
        with contextlib.suppress(Refused):  # no transaction is as good as an aborted one
            self._patiently(_is_away, lambda: self._parts.offline.abort_upload(job.upload.upload_id))
        if isinstance(error, Cancelled):
            self._move(job, UploadState.CANCELLED)
        else:
            self._move(job, UploadState.FAILED, str(error))

    def _unexpected(self) -> RaytideError:
        self._log.exception("upload_failed")
        return Refused("an error of Raytide itself: see the gateway's log")

    def _store(self, job: Job) -> None:
        """Bring the file's rows into history, at most ATTEMPTS times from its start."""
        self._move(job, UploadState.STORED)
        for attempt in self._retrying(_may_succeed_later, stop_after_attempt(ATTEMPTS)):
            with attempt:
                self._attempt(job)

    def _attempt(self, job: Job) -> None:
        parts, upload = self._parts, job.upload
        # Waiting for a writer that is away costs no attempt; losing it in the middle does.
        self._patiently(_is_away, lambda: self._refresh(job))
        if job.upload.state is UploadState.COMMITTED:  # an earlier attempt got through, and only its answer was lost
            return
        catalog, manifest = parts.catalog(), parts.spool.manifest(upload.upload_id)
        options = split_options(catalog, manifest, parts.bounds)
        pieces = split(parts.spool.path(upload.upload_id), Format(upload.format), options)
        job.restarted()
        origin = Origin.upload(upload.upload_id, catalog.version)
        self._patiently(_is_away, lambda: parts.offline.open_upload(upload.upload_id, origin))
        self._refresh(job)
        tally = Tally(NAMED)
        for counts in parts.runner.run(catalog, job.upload, job.counting(self._while_wanted(job, pieces))):
            job.piece_done(counts)
            tally.add(counts)
            manifest.limits.check_so_far(tally)
            self._check_wanted(job)
        manifest.limits.check_all(tally)
        reach(Point.BEFORE_FILE_COMMIT)
        self._check_wanted(job)
        job.moved(parts.offline.commit_upload(upload.upload_id, job.progress.pieces_split))
        self._measure(upload.source, tally)

    def _measure(self, source: str, tally: Tally) -> None:
        self._parts.metrics.add(UPLOAD_EVENTS, tally.events, source)
        for reason, count in tally.reasons.items():
            self._parts.metrics.add(UPLOAD_REJECTS, count, source, reason)

    def _publish(self, job: Job) -> None:
        """Let the newest rows reach the online store, however long it is away: they are durable already."""
        parts, upload = self._parts, job.upload
        reach(Point.BEFORE_PUBLISHING)
        names, values = parts.catalog().online_names(upload.source), 0
        for table in parts.offline.upload_newest(upload.upload_id, names) if names else ():
            self._check_stop()
            parts.online.write(table)
            values += len(table)
            job.published(values)
            reach(Point.PUBLISHING)
        job.moved(parts.offline.set_upload_state(upload.upload_id, UploadState.DONE))

    def _refresh(self, job: Job) -> None:
        job.moved(self._parts.offline.get_upload(job.upload.upload_id))

    def _move(self, job: Job, state: UploadState, error: str = "") -> None:
        self._patiently(_is_away, lambda: job.moved(self._parts.offline.set_upload_state(job.upload.upload_id, state, error)))

    def _patiently(self, may_pass: Callable[[BaseException], bool], step: Callable[[], object]) -> None:
        """Do a step until it works; raise Stopping when told to stop before."""
        for attempt in self._retrying(may_pass, stop_never):
            with attempt:
                step()

    def _retrying(self, retry: Callable[[BaseException], bool], stop: stop_base) -> Retrying:
        return Retrying(
            retry=retry_if_exception(retry),
            stop=stop_any(stop, stop_when_event_set(self._stop)),
            wait=wait_random_exponential(multiplier=self._parts.first_pause_s, max=LONGEST_PAUSE_S),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._log_retry,
            retry_error_callback=self._give_up,
        )

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._log.warning("upload_retried", attempt=state.attempt_number, error=str(error))

    def _give_up(self, state: RetryCallState) -> None:
        self._check_stop()
        error = state.outcome.exception() if state.outcome else None
        raise error or AssertionError

    def _while_wanted(self, job: Job, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self._check_wanted(job)
            yield piece

    def _check_wanted(self, job: Job) -> None:
        self._check_stop()
        if job.is_cancelled:
            raise Cancelled(CANCELLED)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopping("the gateway is stopping: the file goes on when it is back, ask for its state then")


def _may_succeed_later(error: BaseException) -> bool:
    """Return True for a writer that was away or lost the file's transaction: doing the file again may work."""
    return _is_ours(error) and not isinstance(error, BadFile | Misconfigured | Cancelled)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, RetryLater) and not isinstance(error, Stopping)


def _is_ours(error: BaseException) -> bool:
    return isinstance(error, RaytideError) and not isinstance(error, Stopping)
