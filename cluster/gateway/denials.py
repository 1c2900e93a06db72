"""Calls that callers were denied, in the log: a line for each while they are few, and a count of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import grpc
import structlog

from cluster.errors import Busy, Forbidden, RaytideError, Unauthenticated

#: What says more about the caller than about the call.
DENIALS = (Unauthenticated, Forbidden, Busy)
WINDOW_S = 60.0
log = structlog.get_logger()


class Denials:
    """At most `most` lines a minute, whoever calls; the first of a later minute says how many were left out.

    Any number of threads. A line has where the call came from and what the caller was told, which has no secrets.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._since, self._count = clock(), 0

    def note(self, method: str, context: grpc.ServicerContext, error: RaytideError) -> None:
        """Log a call to `method` that ended with `error`, if that is a denial."""
        if not isinstance(error, DENIALS):
            return
        is_told, left_out = self._counted()
        if left_out:
            log.warning("calls_denied_left_out", count=left_out)
        if is_told:
            log.warning("call_denied", method=method, peer=context.peer(), kind=type(error).__name__, why=str(error))

    def _counted(self) -> tuple[bool, int]:
        """Count one more; return whether it is logged, and how many of the minute before were not."""
        with self._lock:
            left_out = 0
            if (now := self._clock()) - self._since >= WINDOW_S:
                left_out = max(0, self._count - self._most)
                self._since, self._count = now, 0
            self._count += 1
            return self._count <= self._most, left_out
