"""How much one writer commits, by the size of batches. `python -m bench.writer`.

The writer's own code in this process, without Ray and Kafka: batches of a thousand partitions wait in its queue all the time,
and become rows, ledger entries and offsets in DuckDB, in groups as usual. What Ray's calls cost on top is in bench/growth.py.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cluster.config import OfflineStoreConfig
from cluster.ingest.batch import rejects_table
from cluster.records import ROWS_SCHEMA, Batch, Origin
from cluster.stores.duckdb import DuckStore

PARTITIONS, SIZES, SECONDS = 1_000, (10, 100, 1_000, 10_000), 15.0
WAITING = 2 * PARTITIONS  # batches in the writer's queue
SINCE_US = 1_700_000_000_000_000


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.writer", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each size (default %(default)s)")
    options = parser.parse_args()
    table = Table(title=f"one writer, {PARTITIONS:,} partitions", title_justify="left")
    for column in ("rows a batch", "batches/s", "rows/s", "transactions/s", "cores"):
        table.add_column(column, justify="right")
    for rows in SIZES:
        table.add_row(*(f"{figure:,}" for figure in (rows, *_committed(rows, options.seconds))))
    Console(highlight=False).print(table)


def _committed(rows: int, seconds: float) -> tuple[int, int, int, float]:
    """Return batches, rows and transactions a second, and the cores that they took."""
    with tempfile.TemporaryDirectory(prefix="bench-writer-") as folder:
        store = DuckStore(OfflineStoreConfig(path=str(Path(folder) / "features.duckdb")))
        try:
            for partition in range(PARTITIONS):
                store.open_partition("bench", partition, 0)
            coming, waiting = _batches(rows), list[Future[None]]()
            before, began, cpu = store.snapshot(), time.monotonic(), _cpu()
            while time.monotonic() - began < seconds:
                waiting += [store.submit(batch) for batch in itertools.islice(coming, PARTITIONS)]
                while len(waiting) >= WAITING:
                    waiting.pop(0).result()
            after, took, used = store.snapshot(), time.monotonic() - began, _cpu() - cpu
            for left in waiting:
                left.result()
        finally:
            store.close()
    batches, transactions = after.batches - before.batches, after.transactions - before.transactions
    per_second = (round(batches / took), round((after.rows - before.rows) / took), round(transactions / took))
    return (*per_second, round(used / took, 2))


def _batches(rows: int) -> Iterator[Batch]:
    """Yield batches of all partitions in turn, each going on where the partition's last one ended."""
    numbers = np.arange(rows)
    times = pa.array(SINCE_US + numbers, pa.timestamp("us"))
    columns = [
        pa.array([f"user_{n}" for n in numbers % 1000]),
        pa.array([f"feature_{n}" for n in numbers % 5]),
        pa.array(numbers * 0.5),
        times,
        times,
    ]
    for first in itertools.count(0, rows):
        table = pa.table([*columns, pa.array(first + numbers)], names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)
        for partition in range(PARTITIONS):
            origin = Origin.stream("bench", partition, 1)
            yield Batch(origin, 1, first, first + rows, rows, table, rejects_table([]))


def _cpu() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
