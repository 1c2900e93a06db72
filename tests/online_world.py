"""A gateway over a store in memory, with what an online read needs and nothing else; for tests of reads and clients."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import pyarrow as pa

from cluster.config import GatewayConfig
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.records import ROWS_SCHEMA
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureService, FeatureView, Field, Long, StreamSource
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OnlineStore

NOW = time.time_ns() // 1000
HOUR = 3_600_000_000
USER, SOURCE = Entity("user", "user_id"), StreamSource("features", "t", Long())
PROFILE = FeatureView("profile", USER, SOURCE, [Field("user_age"), Field("account_balance")], online=True)
RISK = FeatureView("risk", USER, SOURCE, [Field("risk_score")], online=True, ttl=timedelta(hours=1))
HISTORY = FeatureView("history", USER, SOURCE, [Field("click_count")])
CATALOG = build("shop", [PROFILE, RISK, HISTORY, FeatureService("scoring", [PROFILE, RISK])]).registered_as(7)


class OnlineBackend:
    """The part of a gateway's Backend that online reads use."""

    dead_letters = backfills = uploads = offline = None

    def __init__(self, online: OnlineStore | None = None) -> None:
        self.online = online or MemoryOnlineStore()

    def catalog(self) -> Catalog:
        return CATALOG


def put(store: OnlineStore, rows: Sequence[tuple[str, str, float | None, int]]) -> None:
    """Write (entity, feature, value, event time)."""
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    store.write(pa.table([*columns, columns[3], list(range(len(rows)))], names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA))


@contextmanager
def serving(backend: OnlineBackend, config: GatewayConfig | None = None) -> Iterator[str]:
    """Give the address of a gateway over `backend`."""
    server = GatewayServer(config or GatewayConfig(port=0), every_service(cast("Backend", backend)))
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop(1)
