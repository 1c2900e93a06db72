"""What a test may do to a process of the app from outside: let it die at a named point, or set its clock.

Nothing happens, and nothing is looked up, unless `RAYTIDE_FAULTS` named a folder when the process started. In that folder

- a file called like a point and holding a number n arms that point: the first process to pass it n times takes the file
  away, leaves its own id in `<point>.fired`, and is gone by SIGKILL. So one arming is one death.
- the file `clock` holds microseconds by which the app sees the machine's clock ahead; less than nothing sets it back.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

VARIABLE = "RAYTIDE_FAULTS"
CLOCK = "clock"

_folder = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
_passes: Counter[tuple[str, int]] = Counter()


class Point(StrEnum):
    """Where a process may die. docs/delivery.md says for each what is replayed."""

    POLLED = "stream.polled"
    TRANSFORMED = "stream.transformed"
    ONLINE = "stream.online"
    EPOCH_TAKEN = "writer.epoch_taken"
    IN_TRANSACTION = "writer.in_transaction"
    COMMITTED = "writer.committed"
    ANSWERED = "stream.answered"
    RECEIVING = "upload.receiving"
    SPOOLED = "upload.spooled"
    PIECE_COMPUTED = "upload.piece_computed"
    PIECE_APPENDED = "upload.piece_appended"
    BEFORE_FILE_COMMIT = "upload.before_commit"
    FILE_IN_TRANSACTION = "writer.file_in_transaction"
    FILE_COMMITTED = "writer.file_committed"
    BEFORE_PUBLISHING = "upload.before_publishing"
    PUBLISHING = "upload.publishing"
    DONE = "upload.done"
    CLUSTERING_IN_TRANSACTION = "writer.clustering_in_transaction"
    CLUSTERING_COMMITTED = "writer.clustering_committed"
    WINDOWS_COMPUTED = "windows.computed"
    WINDOWS_PUT = "windows.put"


class BackfillPoint(StrEnum):
    """Where a process may die in a backfill: `tests/stack/test_backfill.py` lets it."""

    COMPUTED = "backfill.computed"
    IN_TRANSACTION = "writer.backfill_in_transaction"
    COMMITTED = "writer.backfill_committed"
    PUBLISHED = "backfill.published"


AnyPoint: TypeAlias = Point | BackfillPoint


def reach(point: AnyPoint) -> None:
    """Say that this process is at `point`; it may not return."""
    if _folder is not None:
        _reach(_folder, point)


def clock_ahead_us() -> int:
    """Return by how much the app is to see the machine's clock ahead; for `cluster.clock` alone."""
    if _folder is None:
        return 0
    try:
        return int((_folder / CLOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0


def arm(folder: Path, point: AnyPoint, passes: int = 1) -> None:
    """Let the next process that passes `point` for the `passes`-th time from now on die there. Caller: a test."""
    fired(folder, point).unlink(missing_ok=True)
    _put(folder / point, str(passes))


def disarm(folder: Path, point: AnyPoint) -> None:
    """Let nobody die at `point` any more."""
    (folder / point).unlink(missing_ok=True)


def set_clock(folder: Path, ahead_us: int) -> None:
    """Let all processes of the app see the machine's clock ahead, or behind. Caller: a test."""
    _put(folder / CLOCK, str(ahead_us))


def fired(folder: Path, point: AnyPoint) -> Path:
    """Return the file that is there once a process has died at `point`, holding its process id."""
    return folder / f"{point}.fired"


def _put(file: Path, text: str) -> None:
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)


def _reach(folder: Path, point: AnyPoint) -> None:
    file = folder / point
    try:
        wanted, arming = int(file.read_text(encoding="utf-8")), file.stat().st_mtime_ns
    except FileNotFoundError:
        return
    _passes[point, arming] += 1
    if _passes[point, arming] < wanted:
        return
    try:
        file.unlink()
    except FileNotFoundError:  # another process took it
        return
    _put(fired(folder, point), str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)
