"""Raytide's gateway over cells that were filled from history, for bench/windows_online.py.

    python -m bench.windows_online_serve REDIS_URL FOLDER

Makes a history, fills the cells as the app does, compares, serves, prints the port and Redis's bytes for an entity (a pane
with counts alone, and one with everything) and goes on until standard input ends.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import redis

from bench.online_raytide import OnlineBackend
from cluster.clock import now_us
from cluster.config import GatewayConfig, OfflineStoreConfig, OnlineStoreConfig
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import build
from cluster.registry.definitions import Entity, FeatureView, Field, Long, StreamSource
from cluster.serving.asof import point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.duckdb_windows import ENTITIES_ON_A_PAGE, changes, page
from cluster.stores.redis import RedisOnlineStore
from cluster.verify import Windows, verify_windows
from cluster.verify.newest import ranges
from cluster.windows.panes import Pane, inputs_of, panes_of
from cluster.windows.ports import Since, WindowChanges, WindowPage
from cluster.windows.publishing import Publisher

USERS, HOURS = 1_000, 168
_HOUR_US = 3_600_000_000
_WEEK = timedelta(days=7)
#: Eight windows of an amount, one of them shorter, and two of something else that is only counted.
WINDOWS = [
    *(Aggregation("amount", str(function), _WEEK) for function in Function if function is not Function.COUNT_DISTINCT),
    Aggregation("amount", "sum", timedelta(days=1), timedelta(hours=1)),
    Aggregation("click", "count", _WEEK),
    Aggregation("click", "count", timedelta(days=1), timedelta(hours=1)),
]
ASKED = [a.name for a in WINDOWS if a.name != "amount_first_7d"]  # ten of them


class History:
    """Meets WindowHistory without a writer's process."""

    def __init__(self, folder: Path) -> None:
        config = OfflineStoreConfig(path=str(folder / "windows.duckdb"))
        self.database = DuckDatabase(config)
        self.reads = DuckReads(self.database, config)

    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
        """See WindowHistory."""
        return changes(self.reads, panes, since, now_us, whole=whole)

    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        """See WindowHistory."""
        return page(self.reads, panes, above, up_to, now_us)

    def window_ranges(self, panes: Sequence[Pane]) -> list[tuple[str, str | None]]:
        """See WindowHistory."""
        return ranges(self.reads, inputs_of(panes), ENTITIES_ON_A_PAGE)

    def fill(self) -> None:
        """Store an amount and a click in each of the last hours of each user."""
        now, number = now_us(), USERS * HOURS
        user, hour = np.repeat(np.arange(USERS), HOURS), np.tile(np.arange(HOURS), USERS)
        rng = np.random.default_rng(1)
        for n, (name, values) in enumerate([("amount", rng.lognormal(3, 1, number)), ("click", np.ones(number))]):
            rows = pa.table(
                {
                    "entity_id": pa.array(np.char.mod("user_%d", user)),
                    "feature_name": pa.array([name] * number),
                    "value": values,
                    "event_timestamp": pa.array(now - hour * _HOUR_US - 1_000_000, pa.timestamp("us")),
                    "created_at": pa.array(now - hour * _HOUR_US, pa.timestamp("us")),
                    "source_id": pa.array(np.full(number, n + 1), pa.int32()),
                    "position": np.arange(number),
                }
            )
            with self.database.cursor() as cursor:
                cursor.register("incoming", rows)
                cursor.execute("INSERT INTO features BY NAME SELECT * FROM incoming")
                cursor.execute("INSERT INTO sources (source_id, kind, registry_version) VALUES (?, 'stream', 1)", [n + 1])
                cursor.execute(
                    'INSERT INTO batches (source_id, first_position, next_position, events, "rows") VALUES (?, 0, ?, ?, ?)',
                    [n + 1, number, number, number],
                )


def main(url: str, folder: str) -> None:
    """Fill, compare, serve, wait."""
    history, store = History(Path(folder)), RedisOnlineStore(url, OnlineStoreConfig())
    history.fill()
    user, source = Entity("user", "user_id"), StreamSource("events", "events", Long())
    view = FeatureView("events", user, source, [Field("amount"), Field("click"), *WINDOWS], online=True)
    catalog = build("bench", [view]).registered_as(1)
    panes = panes_of(catalog)
    Publisher(history, store.windows, lambda: panes, now_us).look()
    asked = Windows(store.windows, lambda rows, specs, terms: point_in_time(history.reads, rows, specs, terms), None)
    if not (report := verify_windows(history.reads, asked, catalog)).ok:
        raise RuntimeError(f"windows are wrong, nothing is measured: {report.checks}")
    print(f"{report.checks[0].checked:,} windows compared with a historical read, 0 differ", file=sys.stderr)
    server = GatewayServer(GatewayConfig(port=0), every_service(cast("Backend", OnlineBackend(store, catalog))))
    server.start()
    print(server.port, *(_bytes(url, pane) for pane in reversed(panes)), flush=True)
    sys.stdin.read()
    server.stop(0)


def _bytes(url: str, pane: Pane) -> int:
    """Return what Redis needs for one entity of a pane."""
    with redis.Redis.from_url(url) as client:
        return int(client.memory_usage(f"raytide:window:{pane.name}:user_1", samples=0))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
