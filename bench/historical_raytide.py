"""Raytide's history and its reads, without Ray around the writer. Each command is a process of its own, for its peak memory.

    python -m bench.historical_raytide store DATABASE EVENTS.parquet     as a stream would, then in order, as the writer would
    python -m bench.historical_raytide join DATABASE ROWS.parquet ANSWER.parquet
    python -m bench.historical_raytide by-hand DATABASE ROWS.parquet ANSWER.parquet

Prints one line of JSON: seconds, seconds of CPU, and peak memory in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from bench.historical_data import FEATURES, TIME, USER
from cluster.config import OfflineStoreConfig
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import point_in_time
from cluster.stores.duckdb_clustering import HistoryOrder
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads

TRIES = 3
#: Events between two looks of the thread that puts history in order.
EVENTS_AT_ONCE = 100_000
SPECS = [FeatureSpec(name, "stats", "user", USER, "s", online=True, ttl_us=None, field=None) for name in FEATURES]
_ARRIVE = f"""
    INSERT INTO features
    SELECT {USER}, feature_name, value, {TIME}, {TIME}, 1, first + n FROM (
        UNPIVOT (SELECT *, row_number() OVER () - 1 AS n FROM incoming)
        ON {", ".join(FEATURES)} INTO NAME feature_name VALUE value
    ), (SELECT ?::BIGINT AS first)"""  # noqa: S608 - our own names
_SOURCE = "INSERT INTO sources VALUES (1, 'stream', 'history', 0, NULL, 1, make_timestamp(0), 0, NULL)"
_LEDGER = "INSERT INTO batches VALUES (1, ?, ?, ?, ?, 0, 1, make_timestamp(?::BIGINT))"
# What one would write at a prompt: no ties, no ttl, no limits, each feature once.
_BY_HAND = f"""
    SELECT n, value FROM rows ASOF LEFT JOIN (SELECT * FROM features WHERE feature_name = '{{feature}}') AS features
        ON rows.{USER} = features.entity_id AND rows.{TIME} >= features.event_timestamp"""  # noqa: S608 - as above


def main(command: str, database: Path, *files: str) -> None:
    """Do what is asked for and print what it took."""
    config = OfflineStoreConfig(path=str(database), threads=2)
    commands: dict[str, Callable[..., dict[str, list[float]]]] = {"store": store, "join": join, "by-hand": by_hand}
    with closing(DuckDatabase(config)) as opened:
        took = commands[command](opened, config, *map(Path, files))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**took, "peak_mb": round(peak)}))


def store(database: DuckDatabase, config: OfflineStoreConfig, events: Path) -> dict[str, list[float]]:
    """Store events in the order in which they came, and put them in order behind that; return how long the latter took."""
    took, first = [], 0
    with database.cursor() as cursor, closing(_ordering(database, config)) as order:
        cursor.execute(_SOURCE)
        for batch in parquet.ParquetFile(events).iter_batches(EVENTS_AT_ONCE):
            cursor.register("incoming", batch)
            cursor.execute("BEGIN")
            cursor.execute(_ARRIVE, [first])
            following = first + len(batch)
            cursor.execute(_LEDGER, [first, following, len(batch), len(batch) * len(FEATURES), following])
            cursor.execute("COMMIT")
            first = following
            began = time.perf_counter()
            if order.advance():
                took.append(time.perf_counter() - began)
    return {"seconds": took}


def join(database: DuckDatabase, config: OfflineStoreConfig, rows: Path, answer: Path) -> dict[str, list[float]]:
    """Join as the writer does."""
    reads, asked = DuckReads(database, config), parquet.read_table(rows)
    return _timed(lambda: point_in_time(reads, asked, SPECS), answer)


def by_hand(database: DuckDatabase, _config: OfflineStoreConfig, rows: Path, answer: Path) -> dict[str, list[float]]:
    """Join as one would at a prompt, and put the columns beside the rows."""
    asked = parquet.read_table(rows)
    with database.cursor() as cursor:
        cursor.register("rows", asked)

        def ask() -> pa.Table:
            columns = {name: cursor.sql(_BY_HAND.format(feature=name)).to_arrow_table() for name in FEATURES}
            table = asked
            for name, found in columns.items():
                table = table.append_column(name, found.sort_by("n")["value"])
            return table

        return _timed(ask, answer)


def _ordering(database: DuckDatabase, config: OfflineStoreConfig) -> HistoryOrder:
    return HistoryOrder(database.cursor(), config.clustering_rows, threading.Lock())


def _timed(ask: Callable[[], pa.Table], answer: Path) -> dict[str, list[float]]:
    took, cpu = [], []
    for _ in range(TRIES):
        began, used = time.perf_counter(), time.process_time()
        found = ask()
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    parquet.write_table(found, answer)
    return {"seconds": took, "cpu": cpu}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
