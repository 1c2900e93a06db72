"""As many threads read at once as the gateway serves calls: each gets a connection, none an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cluster.config import GatewayConfig, OnlineStoreConfig
from cluster.stores.redis_connections import RedisConnections
from cluster.stores.redis_packing import command


def test_every_call_of_a_full_gateway_gets_a_connection(redis_url: str) -> None:
    crowd = GatewayConfig().max_concurrent_calls + 1
    together = threading.Barrier(crowd, timeout=30)
    connections = RedisConnections(redis_url, OnlineStoreConfig(timeout_ms=10_000))

    def pieces() -> Iterator[Sequence[bytes]]:
        together.wait()  # everybody holds a connection by now
        yield [command(b"PING")]

    def ask(_number: int) -> list[Any]:
        return connections.exchange(pieces)

    with ThreadPoolExecutor(crowd) as pool:
        assert list(pool.map(ask, range(crowd))) == [[b"PONG"]] * crowd
    connections.close()
