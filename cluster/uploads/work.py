"""The threads that see files through, and what becomes of the files that an earlier process left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog
from structlog.contextvars import bound_contextvars

from cluster.errors import RaytideError, Refused, RetryLater
from cluster.stores.ports import Upload, UploadState
from cluster.stores.upload_rules import ENDED
from cluster.uploads.claims import Elsewhere
from cluster.uploads.job import Job
from cluster.uploads.jobs import Jobs
from cluster.uploads.processing import Parts, Processor, Stopping

_MAX_UNFINISHED = 100_000
STOPPING = "the gateway is stopping: the file goes on when it is back, ask for its state then"


class Work:
    """Caller: the upload service. Each file is a job that the caller owns; here it ends."""

    def __init__(self, parts: Parts, jobs: Jobs, at_once: int, stop: threading.Event) -> None:
        self._parts, self._jobs, self._stop = parts, jobs, stop
        self._processor = Processor(parts, stop)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="upload")
        self._log = structlog.get_logger()

    def start(self, job: Job) -> None:
        """See a file whose bytes are there through to its end."""
        try:
            self._threads.submit(self._process, job)
        except RuntimeError:  # the pool is closed, and so is the service
            self.end(job, Stopping(STOPPING))

    def end(self, job: Job, error: RaytideError | None) -> None:
        """Let a job go, and all who follow it."""
        self._jobs.leave(job)  # first, so that whoever sends the file again on hearing of the end starts afresh
        job.end(error)

    def let_go(self, job: Job) -> None:
        """Store that an upload whose bytes nobody brings any more is CANCELLED, and end its job. A whole file stays."""
        upload_id = job.upload.upload_id
        try:
            job.moved(self._parts.offline.set_upload_state(upload_id, UploadState.CANCELLED))
            self._parts.spool.touch(upload_id, self._parts.now_us())
            if not self._parts.spool.holds(upload_id):
                self._parts.spool.remove(upload_id)
        except RaytideError as error:
            self.end(job, error)
            raise
        self.end(job, None)

    def broke_off(self, job: Job, error: RaytideError, *, keeps_part: bool) -> None:
        """Store that a file did not arrive. While its beginning is kept it stays RECEIVING, and somebody may go on."""
        upload_id, spool = job.upload.upload_id, self._parts.spool
        spool.touch(upload_id, self._parts.now_us())
        if not (keeps_part and spool.has_part(upload_id)):
            spool.remove(upload_id)
            try:
                job.moved(self._parts.offline.set_upload_state(upload_id, UploadState.FAILED, str(error)))
            except RaytideError as away:  # it stays RECEIVING, and can be sent again all the same
                self._log.warning("upload_state_not_stored", upload_id=upload_id, error=str(away))
        self.end(job, error)

    def resume_unfinished(self) -> None:
        """Continue with the files that an earlier process of this gateway left unfinished, and nobody else works on.

        Files that are complete in the spool are worked on from their start, committed ones reach the online store. A
        transfer that was cut waits for somebody to go on, the whole time from now on; one without a byte is FAILED.
        """
        for upload_id in self._parts.spool.parts():
            self._parts.spool.touch(upload_id, self._parts.now_us())
        for upload in self._parts.offline.list_uploads(_MAX_UNFINISHED):
            if upload.state not in ENDED and not self._waits_for_its_sender(upload):
                with contextlib.suppress(Elsewhere):
                    self._take_up(upload)

    def close(self) -> None:
        """Wait until the pieces at work are done; files go on at the next start."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for job in self._jobs.every():
            self.end(job, Stopping("the gateway stopped: the file goes on when it is back, ask for its state then"))

    def _take_up(self, upload: Upload) -> None:
        job, is_mine = self._jobs.claim(upload.idempotency_key, partial(Job, upload, upload.bytes))
        if is_mine:
            # Its client may have sent it again since the list was made.
            self._resume(job, self._parts.offline.get_upload(upload.upload_id))

    def _resume(self, job: Job, upload: Upload) -> None:
        job.moved(upload)
        spool, is_received = self._parts.spool, upload.state is not UploadState.RECEIVING
        if upload.state in ENDED:
            self.end(job, None)
        elif self._waits_for_its_sender(upload):  # since the list was made
            self.end(job, RetryLater("the gateway was just looking after this file: send it again"))
        elif upload.state is UploadState.COMMITTED or spool.holds(upload.upload_id):
            self.start(job)
        else:
            what = "the spooled file is gone" if is_received else "the transfer was cut off"
            self._threads.submit(self._give_up, job, Refused(f"{what} when the gateway restarted: send the file again"))

    def _waits_for_its_sender(self, upload: Upload) -> bool:
        return upload.state is UploadState.RECEIVING and self._parts.spool.has_part(upload.upload_id)

    def _process(self, job: Job) -> None:
        with bound_contextvars(upload_id=job.upload.upload_id):
            self.end(job, _error_of(lambda: self._processor.process(job)))

    def _give_up(self, job: Job, error: RaytideError) -> None:
        failed = _error_of(lambda: self._processor.fail(job, error))
        self._parts.spool.remove(job.upload.upload_id)
        self.end(job, failed or error)


def _error_of(step: Callable[[], None]) -> RaytideError | None:
    """Do a step; return the error that ended it, since a thread's own end would be silent."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - as said
        return as_ours(error)
    return None


def as_ours(error: BaseException) -> RaytideError:
    """Return an error that followers of an upload can be told."""
    if isinstance(error, RaytideError):
        return error
    if isinstance(error, Exception):
        structlog.get_logger().error("upload_broke_off", exc_info=error)
    return RetryLater(f"the upload broke off ({type(error).__name__}): send the file again under the same key")
