"""How many calls run at once: in all, and of one client, so that one that asks for thousands leaves room for the others."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Iterator

import grpc

from cluster.config import GatewayConfig
from cluster.errors import Busy

#: Calls of a client that may be there for each that may run: the others are answered, and the answer is on its way.
OPEN = 2


class Admission:
    """Counts; nobody waits. Whoever is refused is told so at once, and may come again."""

    def __init__(self, config: GatewayConfig) -> None:
        self._most, self._most_each = config.max_concurrent_calls, config.max_calls_per_client
        # Asked for a stranger, these store nothing.
        self._running: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._total = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, client: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Count a call of `client` while it runs, and until its answer was read; raise Busy when there are too many already."""
        self._enter(client)
        ended = functools.partial(self._ended, client)
        if not context.add_callback(ended):
            ended()
        try:
            yield
        finally:
            with self._lock:
                self._total -= 1
                _one_less(self._running, client)

    def _enter(self, client: str) -> None:
        with self._lock:
            if self._running[client] >= self._most_each or self._open[client] >= OPEN * self._most_each:
                raise Busy(
                    f"the gateway is busy with {self._most_each} calls of this client, {client}, and one may have no more "
                    "(gateway.max_calls_per_client): wait for some of them, read their answers, and call again"
                )
            if self._total >= self._most:
                raise Busy(f"the gateway is busy with {self._most} calls (gateway.max_concurrent_calls): try again in a moment")
            self._total += 1
            self._running[client] += 1
            self._open[client] += 1

    def _ended(self, client: str) -> None:
        with self._lock:
            _one_less(self._open, client)


def _one_less(counts: Counter[str], client: str) -> None:
    counts[client] -= 1
    if not counts[client]:
        del counts[client]
