"""Bytes of files on disk while they are received and until they are committed.

A file is `<upload_id>.part` while it arrives and `<upload_id>` once its size and checksum are right; its options are
beside it. Names that clients give are never paths.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cluster.config import UploadsConfig
from cluster.errors import BadFile, RetryLater

_ROOM_CHECK_BYTES = 64 * 1024 * 1024


class Spool:
    """The folder of one gateway."""

    def __init__(self, config: UploadsConfig) -> None:
        self._folder = Path(config.spool)
        self._min_free = config.min_free_bytes
        self._folder.mkdir(parents=True, exist_ok=True)

    def check_room(self, size: int) -> None:
        """Raise RetryLater when the disk has no room for `size` more bytes."""
        free = shutil.disk_usage(self._folder).free
        if free - size < self._min_free:
            raise RetryLater(
                f"no room for the file: {size} bytes wanted, {free} free in the spool, of which {self._min_free} "
                "must stay free (uploads.min_free_bytes): free some space and send the file again",
            )

    def receive(self, upload_id: str, options: Mapping[str, str]) -> Incoming:
        """Return an empty file for an upload's bytes; what was left of an earlier transfer is gone."""
        self.remove(upload_id)
        self._options(upload_id).write_text(json.dumps(dict(options)), encoding="utf-8")
        return Incoming(self, self.path(upload_id))

    def path(self, upload_id: str) -> Path:
        """Return where an upload's complete file is."""
        return self._folder / upload_id

    def holds(self, upload_id: str) -> bool:
        """Return True when the complete file is there."""
        return self.path(upload_id).is_file()

    def ids(self) -> set[str]:
        """Return the uploads whose complete files are there."""
        return {file.name for file in self._folder.iterdir() if not file.suffix}

    def options(self, upload_id: str) -> dict[str, str]:
        """Return the options that came with a file."""
        options: dict[str, str] = json.loads(self._options(upload_id).read_text(encoding="utf-8"))
        return options

    def remove(self, upload_id: str) -> None:
        """Delete whatever there is of an upload."""
        for file in (self.path(upload_id), part_of(self.path(upload_id)), self._options(upload_id)):
            file.unlink(missing_ok=True)

    def _options(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.json"


class Incoming:
    """A file that is being received; leaving the context without `complete` removes it."""

    def __init__(self, spool: Spool, target: Path) -> None:
        self._spool, self._target = spool, target
        self._hash = hashlib.sha256()
        self._file: BinaryIO = part_of(target).open("wb")
        self._unchecked = 0
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if not self._target.is_file():
            self._spool.remove(self._target.name)

    def write(self, chunk: bytes) -> None:
        """Add a chunk; raise RetryLater when the disk is full."""
        self._unchecked += len(chunk)
        if self._unchecked >= _ROOM_CHECK_BYTES:
            self._spool.check_room(0)
            self._unchecked = 0
        try:
            self._file.write(chunk)
        except OSError as error:
            raise RetryLater(f"the spool cannot be written ({error.strerror}): send the file again later") from error
        self._hash.update(chunk)
        self.received += len(chunk)

    def complete(self, size: int, sha256: str) -> None:
        """Make the file durable under its final name; raise BadFile when it is not the one that was announced."""
        if self.received != size:
            raise BadFile(f"size: {size} bytes were announced but {self.received} arrived: send the whole file again")
        if self._hash.hexdigest() != sha256:
            raise BadFile("sha256: the bytes that arrived have another checksum: send the file again")
        self._file.flush()
        os.fsync(self._file.fileno())
        part_of(self._target).rename(self._target)


def part_of(target: Path) -> Path:
    """Return where a file is until it is complete."""
    return target.with_name(f"{target.name}.part")
