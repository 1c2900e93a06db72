"""What `raytide down` does with the actors: every call has the same deadline, and what was left is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from actors import handles
from cluster.errors import RetryLater
from cluster.ingest.stream import Progress, State
from cluster.stores.ports import Upload, UploadState
from cluster.stores.upload_rules import ENDED

ANSWER_SECONDS = 2.0  # on top of a deadline that the actor itself keeps
LEAST_SECONDS = 5.0  # for the writer's last checkpoint, whatever the others took
GONE_SECONDS = 10.0
ASK_SECONDS = 3.0

Say = Callable[[str], None]


def drain(seconds: float, say: Say) -> list[str]:
    """Stop all actors within `seconds` and a little; return what was left undone, one sentence each.

    No new files and no new records first, then the writer with its file.
    """
    deadline, names = time.monotonic() + seconds, handles.names()
    handles.kill(handles.SUPERVISOR)  # first: it would replace what ends, and has nothing to finish
    gateways = [name for name in names if name.startswith(handles.GATEWAY)]
    partitions = [name for name in names if name.startswith("partition:")]
    for what in (*gateways, *(["partitions"] if partitions else [])):
        say(what)
    closing = _start(gateways, "close", seconds)
    draining = _start(partitions, "drain", seconds)
    left = [sentence for name, ref in draining if (sentence := _partition_left(name, ref, deadline))]
    for name, ref in closing:
        handles.quietly(partial(_answer, name, ref, deadline), None)
    for name in (*gateways, *partitions, handles.LIMITER):
        handles.kill(name)
    if handles.WRITER in names:
        say("writer")
        left += _uploads_left()
        left += _close_writer(deadline)
    return left


def drain_and_end(seconds: float, say: Say) -> list[str]:
    """Do what `drain` does, and return once all names are free for the actors that come next."""
    left = drain(seconds, say)
    for name in handles.names():
        handles.end(name, GONE_SECONDS)
    return left


def _start(names: Sequence[str], method: str, seconds: float) -> list[tuple[str, Any]]:
    return [(name, handles.quietly(partial(handles.Remote(name).start, method, seconds), None)) for name in names]


def _answer(name: str, ref: Any, deadline: float) -> Any:
    if ref is None:
        raise RetryLater(f"{name} does not run")
    return handles.value(ref, name, max(0.0, deadline - time.monotonic()) + ANSWER_SECONDS)


def _partition_left(name: str, ref: Any, deadline: float) -> str:
    try:
        progress: Progress = _answer(name, ref, deadline)
    except RetryLater:
        return f"{name}: did not answer and was stopped without draining; it goes on from the ledger"
    if progress.read <= progress.committed:
        return ""
    # A partition that gave up has let go of its batches; what it had read is what counts.
    batches = f" in {progress.in_flight} batches" if progress.in_flight else ""
    why = progress.note or (str(progress.state) if progress.state is not State.RUNNING else "no time left")
    return f"{name}: offsets {progress.committed} to {progress.read}{batches} were read and not committed ({why})"


def _uploads_left() -> list[str]:
    uploads: list[Upload] = handles.quietly(
        lambda: list(handles.Remote(handles.WRITER).call("list_uploads", 1_000, seconds=ASK_SECONDS)), []
    )
    return [f"upload {u.name} ({u.upload_id}): {u.state}; {_next_step(u.state)}" for u in uploads if u.state not in ENDED]


def _next_step(state: UploadState) -> str:
    if state is UploadState.RECEIVING:
        return "the transfer was cut off: send the file again after the next start, and it goes on where it stopped"
    return "it goes on at the next start"


def _close_writer(deadline: float) -> list[str]:
    seconds = max(LEAST_SECONDS, deadline - time.monotonic())
    try:
        handles.Remote(handles.WRITER).call("close", seconds=seconds)
    except RetryLater:
        return [
            "writer: did not close its file in time and was ended; what is committed is safe, the next start replays its log"
        ]
    finally:
        handles.kill(handles.WRITER)
    return []
