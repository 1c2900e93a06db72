"""Windows online: what they cost a stream, what a read of ten takes, what Redis needs. `python -m bench.windows_online`.

A stream is drained as in bench/ingest.py, with no, one and five aggregations in turn, each drain checked; how far windows are
behind its end is measured too. Reads and memory are those of one gateway over one Valkey, with cells that were filled from
history, whose values are compared with a historical read first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import redis
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.check import check
from bench.drains import Job, backlog, job_on, line, script
from bench.raytide_drain import all_done, all_run, last_commit, running_app
from bench.windows_online_serve import ASKED, HOURS
from cluster.config import OnlineStoreConfig
from cluster.stack import manager
from cluster.stores.redis import RedisOnlineStore
from raytide.client import RaytideClient

AGGREGATIONS = (0, 1, 5)
KEY_SETS = {"100 x 5": 100, "100,000 x 5": 100_000}
BEHIND_SECONDS = 120
WARM_UP = 200

say = Console(stderr=True)


@dataclass(frozen=True)
class Stream:
    """A drain with so many aggregations: events a second, and seconds until windows had the last commit."""

    keys: str
    aggregations: int
    events_per_s: float
    behind_s: float


@dataclass(frozen=True)
class Reads:
    """One entity and ten windows after another: milliseconds; and Redis's bytes for an entity that has every cell."""

    cells: int
    p50_ms: float
    p99_ms: float
    bytes_count_only: int
    bytes_all: int


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="windows-", dir=state))
    try:
        reads = _reads(folder, options)
        python = environment.ensure(state / "bench-venv")
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        jobs = (
            (keys, n, job_on(stack, f"w-{KEY_SETS[keys]}-{n}-{r}", options.events, folder, python))
            for r, keys, n in _plan(options)
        )
        streams = [_drain(keys, aggregations, job) for keys, aggregations, job in jobs]
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps({"reads": asdict(reads), "streams": [asdict(s) for s in streams]}, indent=2) + "\n")
    else:
        _print(reads, streams)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.windows_online", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in each backlog (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="drains of each kind; the median counts (default %(default)s)")
    parser.add_argument("--reads", type=int, default=3_000, help="reads for a latency (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> Iterator[tuple[int, str, int]]:
    for round_ in range(options.rounds):
        for keys in KEY_SETS:
            for n in AGGREGATIONS if round_ % 2 == 0 else AGGREGATIONS[::-1]:
                yield round_, keys, n


def _drain(keys: str, aggregations: int, job: Job) -> Stream:
    os.environ["BENCH_AGGREGATIONS"] = str(aggregations)
    with redis.Redis.from_url(job.redis_url) as server:
        server.flushall()
    with backlog(job, KEY_SETS[keys]) as release, running_app(job) as (client, _):
        all_run(client, job.partitions)
        started = release()
        all_done(client, job.events)
        behind = _behind(job, client) if aggregations else 0.0
    database = job.folder / ".raytide" / "features.duckdb"
    check(database, job.redis_url, job.events)
    found = Stream(keys, aggregations, job.events / (last_commit(database) - started), behind)
    say.print(
        f"{keys:12} {aggregations} aggregations {found.events_per_s:10,.0f} events/s, {behind:.1f} s behind", highlight=False
    )
    return found


def _behind(job: Job, client: RaytideClient) -> float:
    """Return how long after the last commit the cells held all of it."""
    store = RedisOnlineStore(job.redis_url, OnlineStoreConfig())
    wanted = client.sql("SELECT max(rowid) AS row FROM batches")["row"][0].as_py()
    last = client.sql("SELECT epoch(max(committed_at)) AS at FROM batches")["at"][0].as_py()
    deadline = time.monotonic() + BEHIND_SECONDS
    while (store.windows.state().row or -1) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"windows are not there {BEHIND_SECONDS} s after the end")
        time.sleep(0.05)
    found = time.time() - float(last)
    store.close()
    return found


def _reads(folder: Path, options: argparse.Namespace) -> Reads:
    url = str(manager.up(folder, redis_port=0, services={manager.VALKEY}).redis_url)
    with script(Path(sys.executable), "-m", "bench.windows_online_serve", url, folder) as process:
        port, count_bytes, all_bytes = line(process).split()
        with RaytideClient(f"127.0.0.1:{port}") as client:
            took = _latencies(client, options.reads)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    manager.down(folder)
    return Reads(HOURS, round(float(p50), 2), round(float(p99), 2), int(count_bytes), int(all_bytes))


def _latencies(client: RaytideClient, reads: int) -> list[float]:
    took = []
    for n in range(WARM_UP + reads):
        started = time.perf_counter()
        client.get_online_features(ASKED, [f"user_{n % 1_000}"])
        took.append((time.perf_counter() - started) * 1000)
    return took[WARM_UP:]


def _print(reads: Reads, streams: Sequence[Stream]) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    title = f"{datetime.now(UTC).date().isoformat()}, {machine}"
    out = Console(highlight=False)
    table = Table(title=f"{title}: windows online", title_justify="left")
    for column in ("keys", "aggregations", "events/s", "of none", "windows behind, s"):
        table.add_column(column, justify="left" if column == "keys" else "right", no_wrap=True)
    for keys in KEY_SETS:
        medians = {n: _median(streams, keys, n) for n in AGGREGATIONS}
        for n, (rate, behind) in medians.items():
            table.add_row(keys, str(n), f"{rate:,.0f}", f"{rate / medians[0][0]:.2f}", f"{behind:.1f}" if n else "")
    out.print(table)
    out.print(
        f"one entity, 10 windows, {reads.cells} cells in each of their panes: p50 {reads.p50_ms} ms, p99 {reads.p99_ms} ms"
    )
    out.print(
        f"Redis for an entity with {reads.cells} cells: {reads.bytes_count_only:,} bytes (count), {reads.bytes_all:,} (all)"
    )


def _median(streams: Sequence[Stream], keys: str, aggregations: int) -> tuple[float, float]:
    found = [s for s in streams if (s.keys, s.aggregations) == (keys, aggregations)]
    return statistics.median(s.events_per_s for s in found), statistics.median(s.behind_s for s in found)


if __name__ == "__main__":
    main()
