"""One upload at work in this process, for all who want to watch it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cluster.errors import RaytideError
from cluster.ingest.split import Piece
from cluster.stores.ports import Upload
from cluster.uploads.messages import UploadProgress


class Job:
    """How far an upload is. Written by the one thread that works on it, read by any number of followers."""

    def __init__(self, upload: Upload, received: int = 0) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._progress = UploadProgress(upload, received, None, 0)
        self._split = 0
        self._ended = False
        self._error: RaytideError | None = None

    @property
    def upload(self) -> Upload:
        """Return the upload as it was last stored."""
        return self._progress.upload

    @property
    def progress(self) -> UploadProgress:
        """Return how far it is."""
        return self._progress

    @property
    def split(self) -> int:
        """Return the number of pieces that were cut so far."""
        return self._split

    def moved(self, upload: Upload) -> None:
        """Note a new state."""
        self._set(upload=upload)

    def received(self, count: int) -> None:
        """Note how many bytes arrived."""
        self._set(received=count)

    def restarted(self) -> None:
        """Note that the file is worked on from its start again."""
        self._split = 0
        self._set(pieces_total=None, pieces_done=0)

    def counting(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Pass pieces on; when there are no more, their total is known."""
        for piece in pieces:
            self._split += 1
            yield piece
        self._set(pieces_total=self._split)

    def piece_done(self) -> None:
        """Note that one more piece is through."""
        self._set(pieces_done=self._progress.pieces_done + 1)

    def end(self, error: RaytideError | None = None) -> None:
        """Let followers go, with an error if there was one. The first end counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def follow(self) -> Iterator[UploadProgress]:
        """Yield progress whenever it changed, the newest only, until the end; raise what ended it."""
        seen, ended = -1, False
        while not ended:
            with self._changed:
                while not (self._ended or self._version > seen):
                    self._changed.wait()
                ended, progress, news, seen = self._ended, self._progress, self._version > seen, self._version
            if news:
                yield progress
        if self._error is not None:
            raise type(self._error)(*self._error.args)  # each follower its own: a traceback belongs to one thread

    def _set(self, **changes: Any) -> None:
        with self._changed:
            self._progress = replace(self._progress, **changes)
            self._version += 1
            self._changed.notify_all()
