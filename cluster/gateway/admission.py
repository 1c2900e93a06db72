"""How many calls run at once: in all, and of one client, so that one that asks for thousands leaves room for the others."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from cluster.config import GatewayConfig
from cluster.errors import Busy


class Admission:
    """Counts; nobody waits. Whoever is refused is told so at once, and may come again."""

    def __init__(self, config: GatewayConfig) -> None:
        self._most, self._most_each = config.max_concurrent_calls, config.max_calls_per_client
        self._running: Counter[str] = Counter()  # asking it for a stranger stores nothing
        self._total = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, client: str) -> Iterator[None]:
        """Count a call of `client` while it runs; raise Busy instead when there are too many already."""
        self._enter(client)
        try:
            yield
        finally:
            self._leave(client)

    def _enter(self, client: str) -> None:
        with self._lock:
            if self._running[client] >= self._most_each:
                raise Busy(
                    f"the gateway is busy with {self._most_each} calls of this client, {client}, and one may have no more "
                    "(gateway.max_calls_per_client): wait for some of them, and call again"
                )
            if self._total >= self._most:
                raise Busy(f"the gateway is busy with {self._most} calls (gateway.max_concurrent_calls): try again in a moment")
            self._running[client] += 1
            self._total += 1

    def _leave(self, client: str) -> None:
        with self._lock:
            self._total -= 1
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
