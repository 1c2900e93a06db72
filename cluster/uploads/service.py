"""The entrance for files: takes a transfer, and sees the file through to DONE or FAILED whatever the client does."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import structlog

from cluster.config import IngestConfig, UploadsConfig
from cluster.errors import BadFile, RaytideError, Refused, RetryLater
from cluster.registry.catalog import Catalog
from cluster.stores.ports import OfflineStore, OnlineStore, Upload, UploadState
from cluster.uploads.header import check_same, checked
from cluster.uploads.job import Job
from cluster.uploads.messages import UploadHeader, UploadProgress
from cluster.uploads.pieces import PieceRunner
from cluster.uploads.processing import Parts, Processor, Stopping
from cluster.uploads.spool import Spool
from cluster.uploads.transfer import arriving, receive

ENDED = (UploadState.DONE, UploadState.FAILED)
_MAX_UNFINISHED = 100_000
_WATCH_SECONDS = 1.0


class UploadService:
    """Files of one gateway. Caller: any number of threads.

    Work on a file that has arrived happens in the service's own threads, so that it goes on when its client is gone.
    """

    def __init__(  # noqa: PLR0917 - made in one place, by the gateway
        self,
        offline: OfflineStore,
        online: OnlineStore,
        catalog: Callable[[], Catalog],
        config: UploadsConfig,
        runner: PieceRunner,
        now_us: Callable[[], int],
        *,
        max_record_bytes: int = IngestConfig().max_record_bytes,
    ) -> None:
        self._offline, self._catalog, self._config, self._now_us = offline, catalog, config, now_us
        self._spool = Spool(config)
        self._stop = threading.Event()
        parts = Parts(offline, online, catalog, runner, self._spool, config.piece_bytes, max_record_bytes)
        self._processor = Processor(parts, self._stop)
        self._transfers = threading.BoundedSemaphore(config.concurrent)
        self._threads = ThreadPoolExecutor(config.concurrent, thread_name_prefix="upload")
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._log = structlog.get_logger()

    def submit(self, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        """Take a file, and yield its progress until it is DONE, the last one with that state.

        A file whose key and checksum are known is not read again: its progress is yielded, whoever works on it. One
        that failed, or whose transfer broke off, is taken again. Nothing happens before the first progress is asked
        for; once all bytes are there, closing the iterator stops nothing.

        Raise Refused, NotFound or BadFile, naming the header's field, when the file cannot be taken; RetryLater when
        the transfer broke off, too many run at once, the disk is full or the writer is away. After a progress with
        state FAILED, its error is raised.
        """
        header = checked(header, self._catalog(), self._config.max_bytes)
        job, is_mine = self._claim(header)
        if is_mine:
            yield from self._take(job, header, chunks)
        yield from job.follow()
        if job.upload.state not in ENDED:
            yield from self._watch(job.upload)

    def resume_unfinished(self) -> None:
        """Continue with the files that an earlier process of this gateway left unfinished. Call once, at start.

        Files that are complete in the spool are worked on from their start, committed ones reach the online store;
        the others are FAILED, and their clients have to send them again.
        """
        spooled = self._spool.ids()
        for upload in self._offline.list_uploads(_MAX_UNFINISHED):
            if upload.state is UploadState.DONE and upload.upload_id in spooled:
                self._spool.remove(upload.upload_id)  # as in `_take`
            if upload.state in ENDED:
                continue
            with self._lock:
                if upload.idempotency_key in self._jobs:
                    continue
                job = self._jobs[upload.idempotency_key] = Job(upload, upload.bytes)
            job.moved(self._offline.get_upload(upload.upload_id))  # its client may have sent it again since the list was made
            if job.upload.state in ENDED:
                self._end(job, None)
            else:
                self._resume(job)

    def close(self) -> None:
        """Take no new files, and wait until the pieces at work are done; files go on at the next start."""
        self._stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            left = list(self._jobs.values())
        for job in left:
            self._end(job, Stopping("the gateway stopped: the file goes on when it is back, ask for its state then"))

    def _claim(self, header: UploadHeader) -> tuple[Job, bool]:
        """Return the job for the header's key in this process, and whether it is the caller's to work on."""
        with self._lock:
            if self._stop.is_set():
                raise Stopping("the gateway is stopping: send the file again when it is back")
            job = self._jobs.get(header.idempotency_key)
            if job is None:
                job = self._jobs[header.idempotency_key] = Job(self._announced(header))
                return job, True
        check_same(header, job.upload)
        return job, False

    def _announced(self, header: UploadHeader) -> Upload:
        return Upload(
            upload_id=uuid.uuid4().hex,
            idempotency_key=header.idempotency_key,
            name=header.name,
            source=header.source,
            format=header.format,
            sha256=header.sha256,
            bytes=header.size,
            state=UploadState.RECEIVING,
            created_at=self._now_us(),
            updated_at=self._now_us(),
        )

    def _take(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        """Receive a file and hand it to the service's threads, unless it is known and arrived before."""
        try:
            known = self._offline.begin_upload(job.upload)
            check_same(header, known)
        except BaseException as error:
            self._end(job, _as_ours(error))
            raise
        job.moved(known)
        if known.state is UploadState.RECEIVING:
            yield from self._receive_or_fail(job, header, chunks)
            self._work_on(job)
        elif known.state is UploadState.DONE:
            self._spool.remove(known.upload_id)  # an earlier process may have died just before it did
            self._end(job, None)
        elif known.state is UploadState.COMMITTED or self._spool.holds(known.upload_id):
            self._work_on(job)  # left by an earlier process, and not resumed yet
        else:
            self._end(job, None)

    def _receive_or_fail(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        try:
            yield from self._receive(job, header, chunks)
        except BaseException as error:  # also GeneratorExit, when the client is gone: the key must not stay taken
            self._fail_transfer(job, _as_ours(error))
            if isinstance(error, BadFile):
                yield job.progress
            raise

    def _receive(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        if not self._transfers.acquire(blocking=False):
            raise RetryLater(
                f"{self._config.concurrent} files are being received already (uploads.concurrent): send the file later",
            )
        try:
            self._spool.check_room(header.size)
            with self._spool.receive(job.upload.upload_id, header.options) as incoming:
                yield from receive(job, header, arriving(chunks, self._config.idle_timeout_s), incoming)
        finally:
            self._transfers.release()

    def _fail_transfer(self, job: Job, error: RaytideError) -> None:
        """Record that a file did not arrive. If the writer is away, it stays RECEIVING and can be sent again all the same."""
        try:
            job.moved(self._offline.set_upload_state(job.upload.upload_id, UploadState.FAILED, str(error)))
        except RaytideError as away:
            self._log.warning("upload_state_not_stored", upload_id=job.upload.upload_id, error=str(away))
        self._end(job, error)

    def _resume(self, job: Job) -> None:
        upload = job.upload
        if upload.state is UploadState.COMMITTED or self._spool.holds(upload.upload_id):
            self._work_on(job)
            return
        what = "the transfer was cut off" if upload.state is UploadState.RECEIVING else "the spooled file is gone"
        self._threads.submit(self._give_up, job, Refused(f"{what} when the gateway restarted: send the file again"))

    def _work_on(self, job: Job) -> None:
        try:
            self._threads.submit(self._work, job)
        except RuntimeError:  # the pool is closed, and so is the service
            self._end(job, Stopping("the gateway is stopping: the file goes on when it is back, ask for its state then"))

    def _work(self, job: Job) -> None:
        self._end(job, _error_of(lambda: self._processor.process(job)))

    def _give_up(self, job: Job, error: RaytideError) -> None:
        self._end(job, _error_of(lambda: self._processor.fail(job, error)) or error)

    def _end(self, job: Job, error: RaytideError | None) -> None:
        with self._lock:  # first, so that whoever sends the file again on hearing of the end starts afresh
            self._jobs.pop(job.upload.idempotency_key, None)
        job.end(error)

    def _watch(self, upload: Upload) -> Iterator[UploadProgress]:
        """Yield the progress of a file that is done, or that another process works on."""
        yield UploadProgress(upload, upload.bytes, None, 0)
        while upload.state not in ENDED:
            if self._stop.wait(_WATCH_SECONDS):  # the state is in another process; asking is how one learns of it
                raise Stopping("the gateway is stopping: ask for the file's state when it is back")
            if (now := self._offline.get_upload(upload.upload_id)) != upload:
                upload = now
                yield UploadProgress(upload, upload.bytes, None, 0)
        if upload.state is UploadState.FAILED:
            raise BadFile(upload.error)


def _error_of(step: Callable[[], None]) -> RaytideError | None:
    """Do a step; return the error that ended it, since a thread's own end would be silent."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - as said
        return _as_ours(error)
    return None


def _as_ours(error: BaseException) -> RaytideError:
    if isinstance(error, RaytideError):
        return error
    if isinstance(error, Exception):
        structlog.get_logger().error("upload_broke_off", exc_info=error)
    return RetryLater(f"the upload broke off ({type(error).__name__}): send the file again under the same key")
