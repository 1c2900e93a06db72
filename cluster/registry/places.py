"""Where in the user's files something stands, so that an error can say it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Protocol

from cluster.errors import Misconfigured

#: A dataclass's __init__ is called "<string>".
_OURS = ("cluster/registry/aggregation.py", "cluster/registry/definitions.py", "cluster/registry/places.py", "/dataclasses.py")


class Placed(Protocol):
    """Something that knows where it was written."""

    @property
    def place(self) -> str:
        """Return file:line, or nothing when that is not known."""


class Misplaced(Misconfigured):
    """An error that says where it is: at `place`, which is file:line."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(place, text)
        self.place, self.text = place, text

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@contextmanager
def at(item: Placed) -> Iterator[None]:
    """Let an error from inside name the place of `item`, unless something within it has named its own."""
    try:
        yield
    except Misplaced:
        raise
    except Misconfigured as error:
        raise (Misplaced(item.place, str(error)) if item.place else error) from None


@contextmanager
def within(what: str) -> Iterator[None]:
    """Let an error from inside say what it is about."""
    try:
        yield
    except Misplaced as error:
        raise Misplaced(error.place, f"{what}: {error.text}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{what}: {error}") from None


def here() -> str:
    """Return file:line of the code outside this package that makes a definition right now."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - a traceback without an error
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def _is_ours(file: str) -> bool:
    return file == "<string>" or file.endswith(_OURS)


def last_place(trace: TracebackType | None, root: str) -> str:
    """Return file:line where an error was raised, as far as it is under the folder `root`."""
    place = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(root):
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
