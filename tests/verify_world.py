"""A small store for tests of verify, healthy until a test breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb
import pyarrow as pa

from cluster.records import ROWS_SCHEMA
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, Long, StreamSource
from cluster.stores.duckdb_schema import CREATE_TABLES
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.verify import Report, verify

LEDGER = "ledger is contiguous"
KAFKA = "ledger is not ahead of Kafka"
SOURCES = "rows come from a known source"
ONCE = "each position is stored once"
INSIDE = "positions lie inside the ledger"
ACCOUNT = "rows and rejects account for each event"
REPLAYED = "replayed rejects have their rows, and no others"
BACKFILLED = "backfilled records are read under one version"
UPLOADS = "uploads are whole"
NEWEST = "online values are the newest in history"
HISTORY = "online values are all in history"
ALL = [LEDGER, KAFKA, SOURCES, ONCE, INSIDE, ACCOUNT, REPLAYED, BACKFILLED, UPLOADS, NEWEST, HISTORY]


class FakeClock:
    """Time passes when somebody waits, and something may happen meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()


def online_rows(*rows: tuple[str, str, float | None, int, int]) -> pa.Table:
    entity, feature, value, event, created = zip(*rows, strict=True)
    columns = {"entity_id": entity, "feature_name": feature, "value": value, "event_timestamp": event, "created_at": created}
    arrays = {
        name: pa.array(column, ROWS_SCHEMA.field(name).type) for name, column in columns.items() if name != "feature_name"
    }
    arrays["feature_name"] = pa.array(feature).dictionary_encode()
    arrays["position"] = pa.array(range(len(rows)), pa.int64())
    return pa.table(arrays).select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA)


class World:
    """A small healthy store: two partitions under two registry versions, one file, quarantine, and the online store."""

    def __init__(self) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        for statement in CREATE_TABLES:
            self.connection.execute(statement)
        self.online = MemoryOnlineStore()
        self.clock = FakeClock()
        self.ends = {("t", 0): 25, ("t", 1): 10}
        view = FeatureView(
            "v",
            Entity("user", "user_id"),
            StreamSource("s", "t", Long()),
            [Field("a"), Field("b")],
            online=True,
        )
        offline = FeatureView("w", Entity("user", "user_id"), StreamSource("s", "t", Long()), [Field("c")])
        self.catalog: Catalog = build("p", [view, offline])

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        with self.connection.cursor() as cursor:
            relation = cursor.sql(sql, params=list(parameters)) if parameters else cursor.sql(sql)
            return relation.to_arrow_table()

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement)

    def verify(self) -> Report:
        return verify(self, self.online, self.catalog, lambda: self.ends, clock=self.clock, patience_s=10)

    def sync_online(self) -> None:
        """Write all of history to the online store, as if it had come that way."""
        history = self.query(
            """SELECT entity_id, feature_name, value, epoch_us(event_timestamp) AS e, epoch_us(created_at) AS c
            FROM features WHERE feature_name IN ('a', 'b') ORDER BY event_timestamp, created_at, source_id, position""",
        )
        self.online.write(online_rows(*(tuple(row.values()) for row in history.to_pylist())))


def healthy_world() -> World:
    """Return a store in which every check passes."""
    world = World()
    world.run(
        """INSERT INTO sources VALUES
            (1, 'stream', 't', 0, NULL, 1, '2026-01-01', 0, NULL), (2, 'stream', 't', 0, NULL, 2, '2026-01-01', 0, NULL),
            (3, 'stream', 't', 1, NULL, 1, '2026-01-01', 0, NULL),
            (4, 'upload', NULL, NULL, 'up1', 1, '2026-01-01', 0, NULL)""",
        # t[0]: positions 5 to 24 over two versions, position 7 rejected; t[1]: 0 to 9, two records compacted away.
        """INSERT INTO features SELECT 'u' || p % 4, 'a', p, make_timestamp(100 + p), make_timestamp(200 + p), 1, p
            FROM range(5, 15) r(p) WHERE p <> 7""",
        """INSERT INTO features SELECT 'u' || p % 4, f, p, make_timestamp(100 + p), make_timestamp(200 + p), 2, p
            FROM range(15, 25) r(p), (VALUES ('a'), ('b'), ('c')) n(f)""",
        """INSERT INTO features SELECT 'x' || p % 4, 'b', p, make_timestamp(100 + p), make_timestamp(200 + p), 3, p
            FROM range(0, 8) r(p)""",
        "INSERT INTO features SELECT 'u' || p, 'a', NULL, make_timestamp(150), make_timestamp(200), 4, p FROM range(0, 3) r(p)",
        "INSERT INTO quarantine (source_id, position, reason, detail) VALUES (1, 7, 'bad_time', ''), (4, 3, 'bad_time', '')",
        """INSERT INTO batches VALUES (1, 5, 10, 4, 4, 1, 1, now()::TIMESTAMP), (1, 10, 15, 5, 5, 0, 1, now()::TIMESTAMP),
            (2, 15, 25, 10, 30, 0, 2, now()::TIMESTAMP), (3, 0, 10, 8, 8, 0, 1, now()::TIMESTAMP),
            (4, 0, 4, 3, 3, 1, 0, now()::TIMESTAMP)""",
        "INSERT INTO partitions VALUES ('t', 0, 2, 25, 0), ('t', 1, 1, 10, 0), ('t', 2, 1, 0, 0)",
        """INSERT INTO uploads (upload_id, state, "rows", rejected)
            VALUES ('up1', 'DONE', 3, 1), ('up2', 'FAILED', 0, 0), ('up3', 'PROCESSING', 0, 0)""",
    )
    world.sync_online()
    return world


def failing(report: Report) -> dict[str, tuple[str, ...]]:
    assert [check.name for check in report.checks] == ALL
    assert report.ok == (not any(check.offenders for check in report.checks))
    return {check.name: check.examples for check in report.checks if check.offenders}
