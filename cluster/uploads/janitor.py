"""Which files of the spool have had their time: beginnings that nobody goes on with, and originals of files that ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cluster.config import UploadsConfig
from cluster.errors import NotFound, RaytideError, RetryLater
from cluster.stores.ports import OfflineStore, Upload, UploadState
from cluster.stores.upload_rules import ENDED
from cluster.uploads.claims import Elsewhere
from cluster.uploads.incoming import NoRoom
from cluster.uploads.job import Job
from cluster.uploads.jobs import Jobs
from cluster.uploads.spool import Spool

_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Original:
    """A whole file in the spool, and when somebody last did something with it."""

    upload_id: str
    bytes: int
    touched_at: int


class Janitor:
    """Any thread may call it; whatever is at work is left alone. While the writer is away nothing is removed."""

    def __init__(
        self, config: UploadsConfig, spool: Spool, jobs: Jobs, offline: OfflineStore, now_us: Callable[[], int]
    ) -> None:
        self._config, self._spool, self._jobs, self._offline, self._now_us = config, spool, jobs, offline, now_us
        self._log = structlog.get_logger()

    def tidy(self) -> None:
        """Remove what had its time, and then the oldest originals until the rest is within the budget."""
        try:
            for upload_id in self._spool.parts():
                if self._age(upload_id) > self._config.resume_s * _SECOND:
                    self._alone(upload_id, self._give_up)
            originals = self._ended()
            left = sum(original.bytes for original in originals)
            for original in originals:
                is_old = self._age(original.upload_id) > self._config.retention_s * _SECOND
                if (is_old or left > self._config.budget_bytes) and self._alone(original.upload_id, self._forget):
                    left -= original.bytes
        except RetryLater as away:
            self._log.info("spool_not_tidied", error=str(away))

    def make_room(self, size: int) -> None:
        """Return when the disk has room for `size` more bytes, if need be without old originals; raise NoRoom."""
        for original in [None, *self._ended()]:
            if original is not None and not self._alone(original.upload_id, self._forget):
                continue
            try:
                return self._spool.check_room(size)
            except NoRoom as error:
                last = error
        raise last

    def _ended(self) -> list[Original]:
        """Return the originals that nobody is at work on, oldest first."""
        busy = {job.upload.upload_id for job in self._jobs.every()}
        ids = [upload_id for upload_id in self._spool.originals() if upload_id not in busy]
        found = [Original(name, self._spool.size(name), self._spool.touched_at(name)) for name in ids]
        return sorted(found, key=lambda original: original.touched_at)

    def _age(self, upload_id: str) -> int:
        return self._now_us() - self._spool.touched_at(upload_id)

    def _alone(self, upload_id: str, step: Callable[[Upload], bool]) -> bool:
        """Do a step with an upload that nobody is at work on, and keep others off meanwhile; return what it returns."""
        try:
            upload = self._offline.get_upload(upload_id)
        except NotFound:  # of another history: nobody will ask for it
            self._spool.remove(upload_id)
            return True
        try:
            job, is_mine = self._jobs.claim(upload.idempotency_key, lambda: Job(upload))
        except Elsewhere:
            return False
        if not is_mine:
            return False
        try:
            return step(self._offline.get_upload(upload_id))
        finally:
            self._jobs.leave(job)
            job.end(RetryLater("the gateway was removing old bytes of this file: send the file again"))

    def _forget(self, upload: Upload) -> bool:
        """Remove the original of a file that ended; nobody will work on it again."""
        if upload.state not in ENDED:
            return False
        self._spool.remove(upload.upload_id)
        return True

    def _give_up(self, upload: Upload) -> bool:
        """Let a transfer that was cut be FAILED."""
        if upload.state is UploadState.RECEIVING:
            sentence = f"nobody went on with the transfer for {self._config.resume_s} s (uploads.resume_s): send the file again"
            try:
                self._offline.set_upload_state(upload.upload_id, UploadState.FAILED, sentence)
            except RetryLater:
                raise
            except RaytideError as error:
                self._log.warning("upload_state_not_stored", upload_id=upload.upload_id, error=str(error))
        self._spool.remove(upload.upload_id)
        return True
