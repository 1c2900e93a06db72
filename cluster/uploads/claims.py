"""Which process of this node has what in its hands: a lock on a file for each, which ends with the process at the latest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from pathlib import Path

from cluster.errors import RetryLater
from cluster.uploads.incoming import cannot_be_written


class Elsewhere(RetryLater):
    """Another process of the gateway has it."""


class Claims:
    """Names in a folder that processes share; among threads of one process whoever calls keeps them apart. Any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            if (file := _locked(left)) is not None:
                _remove(left, file)

    def take(self, name: str) -> bool:
        """Take a name if nobody has it; return whether that was so. Raise NoRoom when the disk is full."""
        file = _locked(self._path(name))
        if file is None:
            return False
        with self._lock:
            self._held[name] = file
        return True

    def release(self, name: str) -> None:
        """Let go of a name that this process has."""
        with self._lock:
            file = self._held.pop(name)
        _remove(self._path(name), file)

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()


def _locked(path: Path) -> int | None:
    """Open a file and lock it; return None when somebody else has."""
    while True:
        file = _opened(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        if _is_at(file, path):
            return file
        os.close(file)  # it was let go of, and removed, between the two calls


def _remove(path: Path, file: int) -> None:
    path.unlink()  # while it is locked, so that nobody loses one that is newer
    os.close(file)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise cannot_be_written(error) from error


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
