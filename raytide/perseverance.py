"""How long a client goes on with a file whose transfer is cut, or that the gateway has no room for now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential
from tenacity.nap import sleep_using_event

from cluster.errors import RetryLater, Unreachable
from raytide.calls import ATTEMPTS

#: Pauses grow from a random part of the first to a random part of the second.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Breaking:
    """Ends what other threads do for a file, at once: their calls, their pauses, their next attempts."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._calls: set[grpc.Call] = set()

    def now(self) -> None:
        """Break everything off; what starts later ends as soon."""
        with self._lock:
            self.ended.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    @contextmanager
    def ends(self, call: grpc.Call) -> Iterator[None]:
        """Let `now` reach a call that is made inside."""
        with self._lock:
            self._calls.add(call)
        try:
            if self.ended.is_set():
                call.cancel()
            yield
        finally:
            with self._lock:
                self._calls.discard(call)


class Contact:
    """What a client knows of its gateway: whether it ever answered, and when a file last got further."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.met, self.further_at = clock, False, float("-inf")


class Perseverance:
    """The attempts at one file. It is given up when it was in trouble for `patience_s` while no file got further.

    Until the gateway has answered once, nobody at its address is a wrong address, and three attempts within about a second
    will do.
    """

    def __init__(self, patience_s: float, contact: Contact, breaking: Breaking) -> None:
        self._patience_s, self._contact, self._breaking = patience_s, contact, breaking
        self._best = (-1, -1)
        self._since: float | None = None

    def attempts(self) -> Retrying:
        """Return the attempts; RetryLater within one leads to the next, after a pause."""
        return Retrying(
            retry=retry_if_exception(self._may_go_on),
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=self._is_over,
            sleep=sleep_using_event(self._breaking.ended),
            reraise=True,
        )

    def heard(self, reached: tuple[int, int]) -> None:
        """Take how far (bytes, pieces) the gateway says the file is; further than before, all files have all the time again."""
        self._contact.met = True
        if reached > self._best:
            self._best, self._since, self._contact.further_at = reached, None, self._contact.clock()

    def _may_go_on(self, error: BaseException) -> bool:
        return isinstance(error, RetryLater) and not self._breaking.ended.is_set()

    def _is_over(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Unreachable) and not self._contact.met:
            return state.attempt_number >= ATTEMPTS
        now = self._contact.clock()
        self._since = now if self._since is None else self._since
        # A file that waits for its turn behind others is in no trouble while these get further.
        return now - max(self._since, self._contact.further_at) >= self._patience_s
