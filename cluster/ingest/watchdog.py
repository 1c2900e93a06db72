"""Ends calls of the user's functions that take too long: one thread of the process looks on, and costs them nothing.

A call is ended by an exception in its thread, which Python raises between two bytecodes. It may come when the call is just
over, so `Stretch` has a protocol: once it is left, no exception is on its way. A call that is stuck in C is not ended by
it; `on_stuck` is called then.

Time is counted by the looks, a bounded step each: a process that was frozen, or a machine that slept, blames no call.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

#: Of a process that ends because a call is stuck.
EXIT_CODE = 75
#: Most seconds between two looks; less when a limit is short.
TICK_S = 0.1
_LOOKS_PER_LIMIT = 8
_LOOKS_UNTIL_IDLE = 50

T = TypeVar("T")

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)
_NOTHING = ctypes.py_object()  # NULL: take back what has not come yet


class TooLate(Exception):
    """Calls were ended: the one after `over` others, or all together, took too long."""

    def __init__(self, over: int) -> None:
        super().__init__(over)
        self.over = over


class _TimedOut(BaseException):
    """Raised within a call that takes too long; no Exception, for user code catches those."""


def end_process(feature: str) -> None:
    """Say why, and end the process: nothing else ends a call that is stuck outside of Python."""
    try:
        structlog.get_logger().error(
            "feature_function_stuck",
            feature=feature,
            next_step="this process ends and is built anew; mend the function, or raise ingest.transform_timeout_s",
        )
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(EXIT_CODE)


class Stretch:
    """Calls of one function, one after another: each has `limit_s`, all together have `total_s`.

    `progress` says how many are over. `grace_s` is how long after the exception the process is `on_stuck`.
    """

    def __init__(self, feature: str, progress: Callable[[], int], limit_s: float, total_s: float, grace_s: float) -> None:
        self.feature, self.limit_s = feature, limit_s
        self.over = -1
        self._progress, self._total_s, self._grace_s = progress, total_s, grace_s
        self._thread = threading.get_ident()
        self._began = self._since = self._fired = -1.0
        self._seen = -1
        self._here, self._firing, self._told = True, False, False

    def look(self, now: float) -> bool:
        """Raise in the thread if its call is late; return whether it is stuck, once. Caller: the watchdog."""
        if self._began < 0:
            self._began = now
        if (progress := self._progress()) != self._seen:
            self._seen, self._since = progress, now
        if self._fired >= 0 and now - self._fired <= self._grace_s:
            return False
        if self._fired >= 0 and self._seen == self.over:
            told, self._told = self._told, True
            return not told
        # Also if it was raised before: a call may swallow it, and end, and a later one be late as well.
        if now - self._since > self.limit_s or now - self._began > self._total_s:
            self.fire(now)
        return False

    def fire(self, now: float) -> None:
        """Raise in the thread, unless it has left."""
        self._firing = True  # before the question, so that `leave` waits for the answer
        if self._here:
            self.over, self._fired = self._seen, now
            _raise_in(self._thread, _TimedOut)
        self._firing = False

    def leave(self) -> None:
        """Make sure that no exception is on its way any more. Harmless to repeat; may be interrupted by it."""
        self._here = False
        while self._firing:
            time.sleep(0)
        if self._fired >= 0:
            _raise_in(self._thread, _NOTHING)


class Watchdog:
    """The thread that looks, and what it looks at. `clock` counts the seconds in which it looked."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.clock = 0.0
        self._monotonic = monotonic
        self.on_stuck: Callable[[str], None] = end_process
        self._stretches: dict[int, Stretch] = {}  # by thread
        self._tick, self._idle = TICK_S, False
        self._wake, self._starting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, stretch: Stretch, calls: Callable[[], T]) -> T:
        """Return what `calls` returns; raise TooLate if they were ended. Nothing comes after that."""
        if self._thread is None:
            self._start()
        thread = threading.get_ident()
        self._tick = min(self._tick, max(stretch.limit_s / _LOOKS_PER_LIMIT, 0.001))
        try:
            self._stretches[thread] = stretch
            if self._idle:
                self._wake.set()
            try:
                return calls()
            finally:
                stretch.leave()
        except _TimedOut:
            stretch.leave()  # again, for the exception may have come within it
            raise TooLate(stretch.over) from None
        finally:
            self._stretches.pop(thread, None)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name="feature-watchdog", daemon=True)
                self._thread.start()

    def _look_on(self) -> None:
        quiet, last = 0, self._monotonic()
        while True:
            quiet = 0 if self._stretches else quiet + 1
            if quiet > _LOOKS_UNTIL_IDLE:
                self._rest()
                quiet, last = 0, self._monotonic()
            time.sleep(self._tick)
            now = self._monotonic()
            self.clock += min(now - last, max(2 * self._tick, 0.02))
            last = now
            for stretch in list(self._stretches.values()):
                if stretch.look(self.clock):
                    self.on_stuck(stretch.feature)

    def _rest(self) -> None:
        """Wait until there is something to look at."""
        self._idle = True
        if not self._stretches:  # asked again after `_idle` was set: who comes from now on wakes us
            self._wake.wait()
        self._idle = False
        self._wake.clear()


#: The one of this process.
WATCHDOG = Watchdog()
