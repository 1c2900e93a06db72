"""The entrance for files: takes a transfer, and sees the file through to its end whatever the client does."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import structlog

from cluster.config import IngestConfig, UploadsConfig
from cluster.errors import BadFile, RaytideError, Refused
from cluster.monitoring.metrics import NO_METRICS, Metrics
from cluster.registry.catalog import Catalog
from cluster.status import SpoolReport
from cluster.stores.ports import OfflineStore, OnlineStore, Upload, UploadState
from cluster.stores.upload_rules import AFTER_COMMIT, BROKEN_OFF, ENDED
from cluster.uploads.checking import Checker
from cluster.uploads.claims import Elsewhere
from cluster.uploads.header import check_same, checked
from cluster.uploads.incoming import NoRoom
from cluster.uploads.janitor import Janitor
from cluster.uploads.job import CANCELLED, Cancelled, Followed, Job, progress_of
from cluster.uploads.jobs import Jobs
from cluster.uploads.manifest import Bounds, Manifest
from cluster.uploads.messages import CheckProgress, UploadHeader, UploadProgress
from cluster.uploads.originals import Originals
from cluster.uploads.pieces import PieceRunner
from cluster.uploads.processing import Parts, Stopping
from cluster.uploads.receiving import Receiver
from cluster.uploads.spool import Spool
from cluster.uploads.transfer import BrokenOff
from cluster.uploads.work import Work, as_ours

_WATCH_SECONDS = 1.0
_TIDY_SECONDS = 30.0
#: Among so many of the newest uploads one that another process works on is looked for.
_NEWEST = 1_000


class UploadService:
    """Files of one gateway process, beside those of the others on its node. Caller: any number of threads.

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
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._offline, self._catalog, self._config, self._now_us = offline, catalog, config, now_us
        self._stop = threading.Event()
        self._spool = Spool(config)
        self._jobs = Jobs(self._spool.claims)
        self._janitor = Janitor(config, self._spool, self._jobs, offline, now_us)
        self._receiver = Receiver(config, self._spool, self._janitor.make_room)
        bounds = Bounds(config.piece_bytes, config.max_bytes, max_record_bytes)
        self.originals = Originals(self._spool, bounds)
        parts = Parts(offline, online, catalog, runner, self._spool, now_us, bounds, metrics)
        self._work = Work(parts, self._jobs, config.concurrent, self._stop)
        self._checker = Checker(parts, config.idle_timeout_s, self._janitor.make_room, self._stop)
        self._log = structlog.get_logger()

    def submit(self, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        """Take a file, and yield its progress until it is DONE or CANCELLED, the last one with that state.

        A file whose key and checksum are known is not read again: its progress is yielded, whoever works on it. One that
        ended without being stored, or whose transfer broke off, is taken again; with `resume` from where it stopped, and
        not read at all when its bytes are still here. Nothing happens before the first progress is asked for; that comes
        before the first chunk is. Once all bytes are there, closing the iterator stops nothing.

        One with `resume` waits `takeover_s` for an earlier transfer of the file, and ends it when that brings nothing.

        Raise Refused, NotFound or BadFile, naming the header's field, when the file cannot be taken; RetryLater when
        the transfer broke off, too many run at once, the disk is full or the writer is away. After a progress with
        state FAILED, its error is raised.
        """
        header = checked(header, self._catalog(), self._config.max_bytes)
        try:
            job, is_mine = self._claim(header)
        except Elsewhere as elsewhere:
            yield from self._beside(header, elsewhere)
            return
        if is_mine:
            yield from self._showing(self._take(job, header, chunks))
        yield from self._showing(job.follow())
        if job.upload.state not in ENDED:
            yield from self._watch_to_the_end(job.upload.upload_id)

    def check(self, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[CheckProgress]:
        """Take a file for a look, and yield what would become of its rows; the last answer has `done`.

        Raise as `submit` does for its header and its transfer. Nothing of the file is kept, and no key is taken.
        """
        header = checked(header, self._catalog(), self._config.max_bytes)
        with self._receiver.slot():
            yield from self._checker.check(self._announced(header), header, chunks)

    def get(self, upload_id: str) -> Upload:
        """Return how far a file got, and whether its original is here; raise NotFound."""
        return self._shown(self._offline.get_upload(upload_id))

    def listed(self, limit: int) -> list[Upload]:
        """Return files, newest first."""
        return [self._shown(upload) for upload in self._offline.list_uploads(limit)]

    def to_watch(self, limit: int) -> list[Upload]:
        """Return files that are at work here with the rows that they have so far, then others, all newest first."""
        at_work = {job.upload.upload_id: job.progress for job in self._jobs.every()}
        running = [replace(p.upload, rows=p.rows_validated, rejected=p.rows_rejected) for p in at_work.values()]
        others = [upload for upload in self.listed(limit) if upload.upload_id not in at_work]
        return sorted(running, key=lambda upload: upload.created_at, reverse=True) + others

    def watch(self, upload_id: str, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[UploadProgress]:
        """Yield a file's progress until it ends, whoever works on it; the last one has the state that it ended in.

        Ends early when it is not wanted any more. Raise NotFound, or RetryLater when the gateway stops.
        """
        seen = None
        while is_wanted():
            upload = self._offline.get_upload(upload_id)
            if upload.state not in ENDED and (job := self._jobs.find(upload.idempotency_key)):
                yield from self._showing(_quietly(job.follow(is_wanted)))
                if job.upload.state in ENDED:
                    return
                upload = self._offline.get_upload(upload_id)
            if upload != seen:
                seen = upload
                yield progress_of(self._shown(upload), self._spool.size(upload_id) or upload.bytes)
            if upload.state in ENDED:
                return
            if self._stop.wait(_WATCH_SECONDS):  # it is in another process, or waits for its sender: asking is how one learns
                raise Stopping("the gateway is stopping: ask for the file's state when it is back")

    def cancel(self, upload_id: str) -> Upload:
        """Stop a file of which nothing is in history, whoever works on it; raise Refused for one that is, or FAILED.

        A whole original is kept, for `retry`.
        """
        known = self._offline.get_upload(upload_id)
        if known.state in ENDED or known.state in AFTER_COMMIT:
            return self._shown(self._offline.set_upload_state(upload_id, UploadState.CANCELLED))
        with contextlib.suppress(Elsewhere):
            job, is_mine = self._jobs.claim(known.idempotency_key, lambda: Job(known))
            if is_mine or job.cancel(BrokenOff(CANCELLED)):  # nobody is at work on it, or a transfer was, and is over now
                self._work.let_go(job)
                return self._shown(job.upload)
        return self._shown(self._offline.set_upload_state(upload_id, UploadState.CANCELLED))  # its thread stops by itself

    def retry(self, upload_id: str) -> Upload:
        """Work on a file that FAILED or is CANCELLED again; raise Refused when it did not, or its bytes are gone."""
        known = self._offline.get_upload(upload_id)
        make = lambda: Job(known, self._spool.size(upload_id), is_retry=True)  # noqa: E731
        job, is_mine = self._jobs.claim(known.idempotency_key, make)
        if not is_mine:
            if job.is_retry:  # the answer to the first call was lost
                return self._shown(job.upload)
            raise _did_not_fail(job.upload)
        try:
            self._begin_again(job)
        except BaseException as error:
            self._work.end(job, as_ours(error))
            raise
        self._work.start(job)
        return self._shown(job.upload)

    def spool_report(self) -> SpoolReport:
        """Return how much is kept."""
        whole, parts = list(self._spool.originals()), self._spool.parts()
        taken = sum(self._spool.size(upload_id) for upload_id in (*whole, *parts))
        return SpoolReport(taken, self._config.budget_bytes, len(whole), len(parts))

    def resume_unfinished(self) -> None:
        """Continue with what an earlier process of this gateway left unfinished; see Work. Call once, at start."""
        self._work.resume_unfinished()

    def tidy(self) -> None:
        """Remove what had its time from the spool."""
        self._janitor.tidy()

    def tidy_on(self) -> None:
        """Tidy up now and then until `close`."""
        while not self._stop.wait(_TIDY_SECONDS):
            try:
                self.tidy()
            except Exception:  # noqa: BLE001 - the next time may be better
                self._log.exception("spool_not_tidied")

    def close(self) -> None:
        """Take no new files, and wait until the pieces at work are done; files go on at the next start."""
        self._stop.set()
        self._work.close()

    def _claim(self, header: UploadHeader) -> tuple[Job, bool]:
        """Return the job for the header's key in this process, and whether it is the caller's to work on."""
        if self._stop.is_set():
            raise Stopping("the gateway is stopping: send the file again when it is back")
        make = lambda: Job(self._announced(header))  # noqa: E731
        job, is_mine = self._jobs.claim(header.idempotency_key, make)
        if is_mine:
            return job, True
        check_same(header, job.upload)
        # The sender's connection may have died without our noticing: whoever resumes has to get through.
        mine = self._jobs.take_over(job, self._config.takeover_s, make) if header.resume else None
        return (job, False) if mine is None else (mine, True)

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

    def _take(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Followed:
        """Receive a file and hand it to the service's threads, unless it is known and arrived before."""
        try:
            known = self._offline.begin_upload(job.upload)
            check_same(header, known)
            job.moved(known)
            is_here = self._spool.holds(known.upload_id)
            if known.state is UploadState.RECEIVING and is_here and header.resume:
                self._spool.describe(known.upload_id, Manifest.of(header))
        except BaseException as error:
            self._work.end(job, as_ours(error))
            raise
        if known.state is UploadState.RECEIVING and not (is_here and header.resume):
            yield from self._receive(job, header, chunks)
            return
        job.received(known.bytes)
        if known.state is UploadState.COMMITTED or (is_here and known.state not in ENDED):
            self._work.start(job)  # left by an earlier process and not resumed yet, or its bytes are here already
        else:
            self._work.end(job, None)

    def _receive(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Followed:
        try:
            yield from self._receiver.receive(job, header, chunks)
        except BrokenOff:
            if not job.is_cancelled:
                raise
        except Cancelled:
            self._work.let_go(job)
        except BaseException as error:  # also GeneratorExit, when the client is gone: the key must not stay taken
            if self._jobs.find(header.idempotency_key) is job:  # it may have been taken over while its thread was stuck
                self._work.broke_off(job, as_ours(error), keeps_part=not isinstance(error, BadFile | NoRoom))
            if isinstance(error, BadFile):
                yield job.progress
            raise
        else:
            self._work.start(job)

    def _beside(self, header: UploadHeader, elsewhere: Elsewhere) -> Iterator[UploadProgress]:
        """Follow a file that another process works on; raise `elsewhere` when all of it is not there yet."""
        newest = self._offline.list_uploads(_NEWEST)
        known = next((upload for upload in newest if upload.idempotency_key == header.idempotency_key), None)
        if known is None or known.state is UploadState.RECEIVING:
            raise elsewhere
        check_same(header, known)
        yield from self._watch_to_the_end(known.upload_id)

    def _watch_to_the_end(self, upload_id: str) -> Iterator[UploadProgress]:
        """Yield the progress of a file that another process works on; raise why it FAILED."""
        for progress in self.watch(upload_id):
            yield progress
        if progress.upload.state is UploadState.FAILED:
            raise BadFile(progress.upload.error)

    def _begin_again(self, job: Job) -> None:
        """Let the upload of a new job be STORED once more; raise Refused when it cannot be."""
        known = self._offline.get_upload(job.upload.upload_id)
        is_here = self._spool.holds(known.upload_id)
        if known.state in AFTER_COMMIT or not (is_here or known.state in BROKEN_OFF):
            raise _did_not_fail(known)
        if not is_here:
            raise Refused(f"the bytes of upload {known.upload_id} are gone (uploads.retention_s): send the file again")
        if known.state in BROKEN_OFF:  # otherwise an earlier call got so far
            self._offline.begin_upload(known)
        job.moved(self._offline.set_upload_state(known.upload_id, UploadState.STORED))

    def _shown(self, upload: Upload) -> Upload:
        return replace(upload, original_kept=self._spool.holds(upload.upload_id))

    def _showing(self, progress: Followed) -> Iterator[UploadProgress]:
        with closing(progress):  # at once, when nobody asks for more
            for one in progress:
                yield replace(one, upload=self._shown(one.upload))


def _did_not_fail(upload: Upload) -> Refused:
    return Refused(f"upload {upload.upload_id} is {upload.state}: only one that is FAILED or CANCELLED can be retried")


def _quietly(progress: Followed) -> Followed:
    """Follow a job whose end is told by the upload's state, not by an error."""
    try:
        yield from progress
    except Stopping:
        raise
    except RaytideError:
        return
