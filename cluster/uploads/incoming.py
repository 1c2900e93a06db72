"""The file that a transfer writes to: goes on with what is there, and knows the checksum of all of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cluster.errors import BadFile, RetryLater


class NoRoom(RetryLater):
    """The disk under the spool is full; what was begun is given up, so that files that wait for room do not take it."""


_ROOM_CHECK_BYTES = 64 * 1024 * 1024
#: After so many bytes they go to the disk. A whole file at once would hold up every commit of the writer beside it: a file
#: system that orders data before metadata (ext4) makes the log's sync wait for all that was written elsewhere.
_SYNC_BYTES = 8 * 1024 * 1024
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Known:
    """The checksum of the first `received` bytes, as hashlib keeps it, while nobody else has written to the file."""

    received: int
    digest: Any
    written: tuple[int, int] = (0, 0)


class Incoming:
    """A file that is being received. One thread at a time; `close` keeps what arrived, `complete` ends it well.

    `received` counts all of its bytes, `since` those that were there before. `known` holds checksums of earlier transfers
    in this process, by upload.
    """

    def __init__(self, part: Path, target: Path, room: Callable[[int], None], known: dict[str, Known]) -> None:
        self._part, self._target, self._room, self._known = part, target, room, known
        self._file: BinaryIO = part.open("ab")
        self.received = self.since = self._file.tell()
        self._unchecked = self._unsynced = 0
        found = known.pop(target.name, Known(0, hashlib.sha256()))
        is_ours = found.received == self.received and found.written == _written(part)
        self._hashed = found if is_ours else Known(0, hashlib.sha256())
        self._digest = self._hashed.digest
        self._caught_up = False

    def catch_up(self) -> None:
        """Read what an earlier process received, for the checksum. Call once, before the first `write`."""
        with self._part.open("rb") as file:
            file.seek(self._hashed.received)
            left = self.received - self._hashed.received
            while left > 0 and (chunk := file.read(min(_READ_BYTES, left))):
                self._digest.update(chunk)
                left -= len(chunk)
        self._caught_up = True

    def restart(self) -> None:
        """Forget what is there."""
        self._file.truncate(0)
        self.received = self.since = 0
        self._hashed = Known(0, hashlib.sha256())
        self._digest = self._hashed.digest

    def write(self, chunk: bytes) -> None:
        """Add a chunk; raise NoRoom when the disk is full."""
        self._unchecked += len(chunk)
        if self._unchecked >= _ROOM_CHECK_BYTES:
            self._room(0)
            self._unchecked = 0
        self._unsynced += len(chunk)
        try:
            self._file.write(chunk)
            if self._unsynced >= _SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise cannot_be_written(error) from error
        self._digest.update(chunk)
        self.received += len(chunk)

    def complete(self, size: int, sha256: str) -> None:
        """Make the file durable under its final name; raise BadFile when it is not the one that was announced."""
        if self.received != size:
            raise BadFile(f"size: {size} bytes were announced but {self.received} arrived: send the whole file again")
        if self._digest.hexdigest() != sha256:
            raise BadFile("sha256: the bytes that arrived have another checksum: send the file again, from its start")
        try:
            self._sync()
            self._file.close()
            self._part.rename(self._target)
        except OSError as error:
            raise cannot_be_written(error) from error

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Keep what arrived for whoever goes on."""
        try:
            self._file.close()
        except OSError:  # what could not be written has not arrived
            return
        if self._caught_up and self._part.is_file():
            self._known[self._target.name] = Known(self.received, self._digest, _written(self._part))


def _written(part: Path) -> tuple[int, int]:
    """Return what changes whenever somebody writes to a file, in this process or in another."""
    found = part.stat()
    return found.st_ino, found.st_mtime_ns


def cannot_be_written(error: OSError) -> NoRoom:
    """Return what an error of the disk means for a transfer."""
    return NoRoom(f"the spool cannot be written ({error.strerror}): send the file again later")
