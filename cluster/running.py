"""What a folder remembers of the app that was started in it, and who may change that."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from cluster.config import STATE_FOLDER
from cluster.ray_head import RayHead
from cluster.release import Release
from cluster.stack.process import ProcessId

APP_FILE = "app.json"
_LOCK_FILE = "app.lock"


@dataclass(frozen=True, slots=True)
class Running:
    """What `.raytide/app.json` remembers of a running app, for the CLI and for `down`."""

    project: str
    gateway: str
    dashboard: str
    ray_address: str
    config: str
    head: RayHead | None = None  # None on a Ray that is not ours
    processes: int = 1  # of the gateway
    stack: bool = False  # whether `up` started the local Kafka and Valkey
    keeper: ProcessId | None = None  # starts it again when its Ray has ended; None on a Ray that is not ours
    release: Release | None = None  # what it is made of; None of one that a Raytide started which did not say

    @classmethod
    def read(cls, folder: Path) -> Running | None:
        """Return what is remembered under `folder`, or None."""
        try:
            content = json.loads((folder / STATE_FOLDER / APP_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        head, keeper, release = content.pop("head"), content.pop("keeper", None), content.pop("release", None)
        if head is not None:
            head = RayHead(process=ProcessId(**head.pop("process")), **head)
        return cls(
            **content,
            head=head,
            keeper=None if keeper is None else ProcessId(**keeper),
            release=None if release is None else Release(**release),
        )

    @property
    def is_alive(self) -> bool:
        """Return whether it may still run; of a Ray that is not ours only asking it would tell."""
        return self.head is None or self.head.is_whole()

    @property
    def is_up(self) -> bool:
        """Return whether all of it was started, and may still run: its gateway is the last part to come."""
        return self.is_alive and bool(self.gateway)

    def write(self, folder: Path) -> None:
        """Remember this under `folder`; there are no secrets in it."""
        path = folder / STATE_FOLDER / APP_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        fresh.replace(path)


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only one who starts or stops the app of `folder`, after whoever is at it now; a process that dies lets go."""
    with alone_at_once(folder) as is_alone:
        if is_alone:
            yield
            return
    say("the app of this folder is being started or stopped already: waiting for that")
    with _lock_file(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def alone_at_once(folder: Path) -> Iterator[bool]:
    """Be the only one, as with `alone`, or give False while somebody else is."""
    with _lock_file(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock_file(folder: Path) -> TextIO:
    path = folder / STATE_FOLDER / _LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w", encoding="utf-8")
