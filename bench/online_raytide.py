"""Raytide's gateway over Redis, without Ray behind it: online reads need none.

    python -m bench.online_raytide REDIS_URL VALUES.parquet

Writes the values to Raytide's online store, serves them, prints the port and goes on until standard input ends.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from cluster.config import GatewayConfig, OnlineStoreConfig
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.records import ROWS_SCHEMA
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, Long, StreamSource
from cluster.stores.redis import RedisOnlineStore


class OnlineBackend:
    """The part of a gateway's Backend that online reads use."""

    dead_letters = backfills = uploads = offline = None
    function_seconds = 10.0

    def __init__(self, online: RedisOnlineStore, catalog: Catalog) -> None:
        self.online, self._catalog = online, catalog

    def catalog(self) -> Catalog:
        """Return the definitions."""
        return self._catalog


def main(url: str, values: str) -> None:
    """Write, serve, wait."""
    table = parquet.read_table(values)
    names = [name for name in table.column_names if name not in ("user_id", "event_timestamp")]
    store = RedisOnlineStore(url, OnlineStoreConfig())
    store.write(_rows(table, names))
    source, user = StreamSource("stats", "stats", Long()), Entity("user", "user_id")
    view = FeatureView("stats", user, source, [Field(name) for name in names], online=True, ttl=timedelta(days=365))
    catalog = build("bench", [view]).registered_as(1)
    server = GatewayServer(GatewayConfig(port=0), every_service(cast("Backend", OnlineBackend(store, catalog))))
    server.start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop(0)


def _rows(table: pa.Table, names: list[str]) -> pa.Table:
    times = pc.cast(table["event_timestamp"], pa.timestamp("us"))
    pieces = [
        pa.table(
            [table["user_id"], pa.array([name] * len(table)), table[name], times, times, pa.array(range(len(table)))],
            names=ROWS_SCHEMA.names,
        )
        for name in names
    ]
    return pa.concat_tables(pieces).cast(ROWS_SCHEMA)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
