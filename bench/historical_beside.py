"""Commits of a stream, alone and beside historical reads, in one process as in the writer.

    python -m bench.historical_beside DATABASE ROWS.parquet READERS SECONDS

Prints one line of JSON: rows committed a second, and reads answered.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bench.historical_raytide import SPECS
from cluster.clock import now_us
from cluster.config import OfflineStoreConfig
from cluster.ingest.batch import rejects_table
from cluster.priority import give_way
from cluster.records import ROWS_SCHEMA, Batch, Origin
from cluster.serving.asof import point_in_time
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads

TOPIC = "beside"
BATCH_ROWS, IN_FLIGHT = 5_000, 3
ASKED_ROWS = 100_000


def main(database: Path, rows: Path, readers: int, seconds: float) -> None:
    """Commit for so long while so many read, one question after another."""
    config = OfflineStoreConfig(path=str(database))
    asked = parquet.read_table(rows).slice(0, ASKED_ROWS)
    with closing(DuckStore(config)) as store:
        reads, ended, answered = DuckReads(store.database, config), threading.Event(), deque[int]()

        def read() -> None:
            give_way()  # as the writer's reads do
            while not ended.is_set():
                answered.append(len(point_in_time(reads, asked, SPECS)))

        threads = [threading.Thread(target=read) for _ in range(readers)]
        for thread in threads:
            thread.start()
        rate = commit(store, seconds)
        ended.set()
        for thread in threads:
            thread.join()
    print(json.dumps({"rows_per_s": round(rate), "reads": len(answered)}))


def commit(store: DuckStore, seconds: float) -> float:
    """Send batches, some in flight, for so long; return rows a second."""
    start = store.open_partition(TOPIC, 0, 0)
    origin, first, flight = Origin.stream(TOPIC, 0, 1), start.next_offset, deque[Future[None]]()
    began, done = time.monotonic(), 0
    while (took := time.monotonic() - began) < seconds:
        flight.append(store.submit(_batch(origin, start.epoch, first)))
        first += BATCH_ROWS
        if len(flight) > IN_FLIGHT:
            flight.popleft().result()
            done += BATCH_ROWS
    for future in flight:
        future.result()
    return done / took


def _batch(origin: Origin, epoch: int, first: int) -> Batch:
    positions = np.arange(first, first + BATCH_ROWS)
    times = pa.array(np.full(BATCH_ROWS, now_us()), pa.timestamp("us"))
    columns = [_USERS, _NAMES, pa.array(positions.astype(np.float64)), times, times, pa.array(positions)]
    rows = pa.table(columns, names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)
    return Batch(origin, epoch, first, first + BATCH_ROWS, BATCH_ROWS, rows, rejects_table([]))


_USERS = pa.array([f"user_{n}" for n in range(BATCH_ROWS)])
_NAMES = pa.array([f"feature_{n % 10}" for n in range(BATCH_ROWS)])

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
