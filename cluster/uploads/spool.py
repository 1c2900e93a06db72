"""Bytes of files on disk: while they are received, and their originals after that.

A file is `<upload_id>.part` while it arrives and `<upload_id>` once its size and checksum are right; what the sender said
about it is beside it in `<upload_id>.json`. Names that clients give are never paths.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.config import UploadsConfig
from cluster.uploads.claims import Claims
from cluster.uploads.incoming import Incoming, Known, NoRoom, cannot_be_written
from cluster.uploads.manifest import Manifest

_PART, _MANIFEST = ".part", ".json"
_CHECKS, _CLAIMS = "checks", "claims"


class Spool:
    """The folder of a node's gateway, which its processes share. Any thread; one thread at a time for each upload.

    Who works on what is in `claims`: the idempotency keys of uploads, and the names of files that are checked.
    """

    def __init__(self, config: UploadsConfig) -> None:
        self._folder = Path(config.spool)
        self._min_free = config.min_free_bytes
        self._known: dict[str, Known] = {}  # checksums of parts that this process received, so that it need not read them again
        self.claims = Claims(self._folder / _CLAIMS)
        self._checks = self._folder / _CHECKS
        self._checks.mkdir(exist_ok=True)
        self._clear_checks()

    @contextlib.contextmanager
    def checked(self) -> Iterator[tuple[Path, Path]]:
        """Lend the names of a file that is only checked, while it arrives and after that; remove what is under them."""
        name = uuid.uuid4().hex
        self.claims.take(name)
        file = self._checks / name
        try:
            yield file.with_suffix(_PART), file
        finally:
            file.with_suffix(_PART).unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            self.claims.release(name)

    def path(self, upload_id: str) -> Path:
        """Return where an upload's complete file is: for whoever reads an original again."""
        return self._folder / upload_id

    def holds(self, upload_id: str) -> bool:
        """Return True when the complete file is there."""
        return self.path(upload_id).is_file()

    def size(self, upload_id: str) -> int:
        """Return the bytes of an upload that are there, whole or not."""
        for file in (self.path(upload_id), self._part(upload_id)):
            with contextlib.suppress(FileNotFoundError):
                return file.stat().st_size
        return 0

    def originals(self, source: str | None = None) -> dict[str, Path]:
        """Return the complete files, of one source or of all, by upload."""
        names = [file.name for file in self._folder.iterdir() if not file.suffix and file.is_file()]
        return {name: self.path(name) for name in names if source is None or self._source(name) == source}

    def parts(self) -> list[str]:
        """Return the uploads of which there is a beginning."""
        return [file.stem for file in self._folder.glob(f"*{_PART}")]

    def has_part(self, upload_id: str) -> bool:
        """Return True when there is a beginning of an upload, which may have no bytes yet."""
        return self._part(upload_id).is_file()

    def manifest(self, upload_id: str) -> Manifest:
        """Return what was said about an upload's file."""
        return Manifest.from_json(self._manifest(upload_id).read_text(encoding="utf-8"))

    def describe(self, upload_id: str, manifest: Manifest) -> None:
        """Keep what is said about an upload's file; raise NoRoom when the disk is full."""
        try:
            self._manifest(upload_id).write_text(manifest.to_json(), encoding="utf-8")
        except OSError as error:
            raise cannot_be_written(error) from error

    def receive(self, upload_id: str, manifest: Manifest, room: Callable[[int], None]) -> Incoming:
        """Return the upload's beginning, to go on with it; an empty one when there is none. `room(0)` is asked now and then."""
        self.path(upload_id).unlink(missing_ok=True)
        self.describe(upload_id, manifest)
        try:
            return Incoming(self._part(upload_id), self.path(upload_id), room, self._known)
        except OSError as error:
            raise cannot_be_written(error) from error

    def check_room(self, size: int) -> None:
        """Raise NoRoom when the disk has no room for `size` more bytes."""
        free = shutil.disk_usage(self._folder).free
        if free - size < self._min_free:
            raise NoRoom(
                f"no room for the file: {size} bytes wanted, {free} free in the spool, of which {self._min_free} "
                "must stay free (uploads.min_free_bytes): free some space and send the file again",
            )

    def touch(self, upload_id: str, at_us: int) -> None:
        """Note when somebody last did something with an upload's file. Takes no space, so that a full disk does no harm."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._manifest(upload_id), ns=(at_us * 1000, at_us * 1000))

    def touched_at(self, upload_id: str) -> int:
        """Return what `touch` noted (µs); 0 when nothing is there."""
        try:
            return self._manifest(upload_id).stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return 0

    def remove(self, upload_id: str) -> None:
        """Delete whatever there is of an upload."""
        self._known.pop(upload_id, None)
        for file in (self.path(upload_id), self._part(upload_id), self._manifest(upload_id)):
            file.unlink(missing_ok=True)

    def _clear_checks(self) -> None:
        """Remove files whose process ended while it checked them."""
        for file in self._checks.iterdir():
            if self.claims.take(file.stem):
                file.unlink(missing_ok=True)
                self.claims.release(file.stem)

    def _source(self, upload_id: str) -> str | None:
        """Return an upload's source; None when it was removed since somebody looked."""
        with contextlib.suppress(FileNotFoundError):
            return self.manifest(upload_id).source
        return None

    def _part(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}{_PART}"

    def _manifest(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}{_MANIFEST}"
