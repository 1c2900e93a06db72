"""Ends streaming calls whose client is there but sends nothing, so that they do not keep their threads for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

LOOK_SECONDS = 0.25


class Patience:
    """Waits `seconds` for each message of a client stream, then cancels the call. Between messages nothing is counted.

    gRPC has no time-out for one message, and a handler that waits for one cannot look at a clock; so one thread looks
    at all of them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[int, tuple[grpc.ServicerContext, float]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gateway-patience", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def messages(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield what `requests` yields; a message that takes too long cancels the call, which `requests` then raises."""
        while True:
            with self._lock:
                self._waiting[id(context)] = (context, time.monotonic())
            try:
                message = next(requests)
            except StopIteration:
                return
            finally:
                with self._lock:
                    del self._waiting[id(context)]
            yield message

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            oldest = time.monotonic() - self._seconds
            with self._lock:
                late = [context for context, since in self._waiting.values() if since < oldest]
            for context in late:
                context.cancel()
