"""Files with secrets, and files that are read again when they change."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from cluster.errors import Misconfigured, RaytideError

log = structlog.get_logger()
Value = TypeVar("Value")
Looks = list[tuple[int, int, int, int] | None]


def read_file(path: Path, setting: str) -> bytes:
    """Return a file's content; raise Misconfigured, naming the `setting` that has its path, when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"{setting} {path} cannot be read ({error.strerror}): name a file that this user can read"
        ) from None


def read_private(path: Path, setting: str) -> bytes:
    """Return the content of a file with a secret; raise Misconfigured when it cannot be read, or others could read it.

    As PostgreSQL has it: a file of this user is nobody else's, one of root may be for a group to read.
    """
    content = read_file(path, setting)
    found = path.stat()
    if found.st_uid == os.geteuid():
        wrong = stat.S_IRWXG | stat.S_IRWXO
    elif found.st_uid == 0:
        wrong = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
    else:
        raise Misconfigured(f"{setting} {path} belongs to another user: make it a file of the user that runs this, or of root")
    if found.st_mode & wrong:
        raise Misconfigured(f"{setting} {path} is open to others (mode {found.st_mode & 0o777:03o}): `chmod 600 {path}`")
    return content


class Followed(Generic[Value]):
    """What `read` makes of files, and makes anew when one of them was changed. Any number of threads may ask.

    The constructor raises what `read` raises. Later, files that `read` refuses leave the value as it was, and the log
    says so once for each change: half an edit must not lock everybody out.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], Value]) -> None:
        self._files, self._read, self._lock = files, read, threading.Lock()
        self._seen = self._look()
        self._value = read()

    def value(self) -> Value:
        """Return the newest value."""
        seen = self._look()
        if seen != self._seen:
            with self._lock:
                if seen != self._seen:
                    self._read_again(seen)
        return self._value

    def _read_again(self, seen: Looks) -> None:
        names = [str(file) for file in self._files]
        try:
            self._value = self._read()
        except RaytideError as error:
            log.warning("files_refused", files=names, error=str(error), next_step="what was read before stays in force")
        else:
            log.info("files_read_again", files=names)
        self._seen = seen  # last: others take what is there until it is replaced

    def _look(self) -> Looks:
        return [_look_at(file) for file in self._files]


def _look_at(file: Path) -> tuple[int, int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode
