"""Ends calls whose client is there but sends nothing, or reads nothing, so that they do not keep their threads for ever."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc

LOOK_SECONDS = 0.25


class Patience:
    """Waits `seconds` for a client to send or to take a message, then cancels the call. What we do ourselves is not counted.

    gRPC has no time-out for one message, and a handler that waits for one cannot look at a clock; so one thread looks
    at all of them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[object, tuple[grpc.ServicerContext, float]] = {}
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
            try:
                with self._waited_for(context):
                    message = next(requests)
            except StopIteration:
                return
            yield message

    def taken(self, answers: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Yield what `answers` yields; one that the client does not take cancels the call, and gRPC closes this iterator."""
        for answer in answers:
            with self._waited_for(context):
                yield answer

    def until_read(self, context: grpc.ServicerContext) -> None:
        """Give the client its time to take the answer that is about to be sent; the call is cancelled when it does not."""
        mark = object()
        self._wait(mark, context)
        if not context.add_callback(lambda: self._came(mark)):
            self._came(mark)

    @contextlib.contextmanager
    def _waited_for(self, context: grpc.ServicerContext) -> Iterator[None]:
        mark = object()
        self._wait(mark, context)
        try:
            yield
        finally:
            self._came(mark)

    def _wait(self, mark: object, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._waiting[mark] = (context, time.monotonic())

    def _came(self, mark: object) -> None:
        with self._lock:
            self._waiting.pop(mark, None)

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            oldest = time.monotonic() - self._seconds
            with self._lock:
                late = [context for context, since in self._waiting.values() if since < oldest]
            for context in late:
                context.cancel()
