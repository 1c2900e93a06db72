"""One upload at work in this process, for all who want to watch it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

from cluster.errors import RaytideError, Refused
from cluster.ingest.split import Piece
from cluster.stores.ports import Upload
from cluster.stores.upload_rules import AFTER_COMMIT
from cluster.uploads.messages import UploadProgress
from cluster.uploads.pieces import PieceCounts
from cluster.uploads.transfer import BrokenOff, Transfer

Followed = Generator[UploadProgress, None, None]
_LOOK_SECONDS = 1.0
CANCELLED = "the upload was cancelled, and nothing of it was stored"


class Cancelled(Refused):
    """Somebody cancelled the upload; whoever works on it lets go of it."""


class Job:
    """How far an upload is. Written by the one thread that works on it, read by any number of followers.

    `is_cancelled` tells that thread to stop; `is_retry` that somebody asked for the work after the file had ended.
    """

    def __init__(self, upload: Upload, received: int = 0, *, is_retry: bool = False) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._progress = _after(UploadProgress(upload, received, None, 0), upload)
        self._transfer: Transfer | None = None
        self._ended = False
        self._error: RaytideError | None = None
        self.is_cancelled = False
        self.is_retry = is_retry

    @property
    def upload(self) -> Upload:
        """Return the upload as it was last stored."""
        return self._progress.upload

    @property
    def progress(self) -> UploadProgress:
        """Return how far it is."""
        return self._progress

    def moved(self, upload: Upload) -> None:
        """Note a new state."""
        with self._changed:
            self._set(**_changes(_after(self._progress, upload)))

    def receives(self, transfer: Transfer | None) -> None:
        """Note which transfer brings the bytes, None when it is over; raise Cancelled when none is wanted any more."""
        with self._changed:
            if self.is_cancelled and transfer is not None:
                raise Cancelled(CANCELLED)
            self._transfer = transfer
            self._set()

    def received(self, count: int) -> None:
        """Note how many bytes are there."""
        with self._changed:
            self._set(received=count)

    def restarted(self) -> None:
        """Note that the file is worked on from its start again."""
        with self._changed:
            self._set(pieces_total=None, pieces_done=0, pieces_split=0, rows_validated=0, rows_rejected=0)

    def counting(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Pass pieces on; when there are no more, their total is known."""
        for piece in pieces:
            with self._changed:
                self._set(pieces_split=self._progress.pieces_split + 1)
            yield piece
        with self._changed:
            self._set(pieces_total=self._progress.pieces_split)

    def piece_done(self, counts: PieceCounts) -> None:
        """Note that one more piece is through."""
        now = self._progress
        with self._changed:
            self._set(
                pieces_done=now.pieces_done + 1,
                rows_validated=now.rows_validated + counts.events,
                rows_rejected=now.rows_rejected + counts.rejected,
            )

    def published(self, values: int) -> None:
        """Note how many values were offered to the online store so far."""
        with self._changed:
            self._set(values_online=values)

    def cancel(self, error: BrokenOff) -> bool:
        """Tell whoever works on the upload to stop; return whether that was a transfer, which is over now."""
        with self._changed:
            self.is_cancelled = True
            transfer = self._transfer
        return transfer is not None and transfer.break_off(error)

    def give_way(self, quiet_s: float, error: BrokenOff) -> bool:
        """Break the transfer off if it brings nothing for `quiet_s`; return whether that was done."""
        with self._changed:
            transfer, before = self._transfer, self._progress.received
            moved = self._changed.wait_for(lambda: self._ended or not self._waits_for_bytes(transfer, before), quiet_s)
        return not moved and transfer is not None and transfer.break_off(error)

    def end(self, error: RaytideError | None = None) -> None:
        """Let followers go, with an error if there was one. The first end counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, seconds)

    def follow(self, is_wanted: Callable[[], bool] = lambda: True) -> Followed:
        """Yield progress whenever it changed, the newest only, until the end; raise what ended it.

        Whether the follower is still wanted is asked once a second.
        """
        seen, ended = -1, False
        while not ended and is_wanted():
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._version > seen, _LOOK_SECONDS)  # noqa: B023 - asked here
                ended, progress, news, seen = self._ended, self._progress, self._version > seen, self._version
            if news:
                yield progress
        if ended and self._error is not None:
            raise type(self._error)(*self._error.args)  # each follower its own: a traceback belongs to one thread

    def _waits_for_bytes(self, transfer: Transfer | None, received: int) -> bool:
        return transfer is not None and self._transfer is transfer and self._progress.received == received

    def _set(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)
        self._version += 1
        self._changed.notify_all()


def progress_of(upload: Upload, received: int | None = None) -> UploadProgress:
    """Return what an upload's row alone tells of its progress."""
    return _after(UploadProgress(upload, upload.bytes if received is None else received, None, 0), upload)


def _after(progress: UploadProgress, upload: Upload) -> UploadProgress:
    """Return the progress with a new state; after the commit its counts are the durable ones."""
    if upload.state in AFTER_COMMIT:
        return replace(progress, upload=upload, rows_validated=upload.rows, rows_rejected=upload.rejected)
    return replace(progress, upload=upload)


def _changes(progress: UploadProgress) -> dict[str, Any]:
    return {
        "upload": progress.upload,
        "rows_validated": progress.rows_validated,
        "rows_rejected": progress.rows_rejected,
    }
