"""Rate, memory and start-up time of more and more partitions. `python -m bench.growth`.

For each number of partitions: a fresh app (`raytide up`) over a topic of so many partitions, its memory and what it uses while
nothing comes, then the same backlog at once, as in bench/ingest.py. Memory is unique to a process (USS), so that processes
can be added up. Kafka and Valkey are the benchmark's own. `--nodes` does it on a cluster of three nodes that `ray up` makes of
namespaces on this machine (tests/nodes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.check import check
from bench.drains import Job, backlog, job_on, servers
from bench.measure import QUIET_SHARE, family, process_name, settle, watching
from bench.raytide_drain import START_SECONDS, all_done, all_run, last_commit, running_app
from cluster.stack import manager
from raytide.client import RaytideClient
from tests.nodes import tools

PARTITIONS, ENTITIES, IDLE_SECONDS = (1, 2, 4, 8, 16, 64), 100_000, 20.0
NODES_SECONDS = 3_000.0
IDLE_SHARE = 0.03  # of a core, what a partition without events uses
MB = 1e6
WIDTH = 150  # of the table where there is no terminal
PARTITION, SUPERVISOR = "Partition", "Supervisor"  # as Ray titles their processes
SHOWN = (PARTITION, "Writer", "valkey-server", "java")
say = Console(stderr=True)


@dataclass(frozen=True)
class Started:
    """An app that runs: its client, its processes, and where its history is."""

    client: RaytideClient
    processes: Callable[[], list[psutil.Process]]
    database: Path


@dataclass(frozen=True)
class Grown:
    """What so many partitions took. Cores are CPU seconds a second; memory is in MB."""

    partitions: int
    start_s: float
    partition_mb: float
    app_mb: float
    idle_cores: float
    idle_supervisor: float
    events_per_second: float
    cpu_us_per_event: float
    cores: dict[str, float]


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in each backlog (default %(default)s)")
    parser.add_argument("--partitions", type=int, nargs="+", default=list(PARTITIONS), help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--nodes", action="store_true", help="on three nodes of this machine")
    options = parser.parse_args()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    python = environment.ensure(state / "bench-venv")
    if options.nodes:
        on_nodes(python, options.events, options.partitions)
        return
    folder = Path(tempfile.mkdtemp(prefix="growth-", dir=state))
    try:
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        jobs = [
            replace(job_on(stack, f"growth-{count}", options.events, folder, python), partitions=count)
            for count in options.partitions
        ]
        found = [grown(job, _here) for job in jobs]
    finally:
        manager.down(folder)
        shutil.rmtree(folder)
    show(found, as_json=options.json)


def on_nodes(python: Path, events: int, partitions: Sequence[int]) -> None:
    """Run bench/growth_nodes.py in namespaces of its own; raise Missing when this machine cannot make nodes."""
    with tempfile.TemporaryDirectory(prefix="raytide-growth-", dir="/var/tmp") as folder:
        arguments = (str(python), str(events), *map(str, partitions))
        tools.isolated("bench.growth_nodes", Path(folder), *arguments, seconds=NODES_SECONDS).check_returncode()


@contextmanager
def _here(job: Job) -> Iterator[Started]:
    with running_app(job) as (client, head):
        yield Started(client, partial(family, head), job.folder / ".raytide" / "features.duckdb")


def grown(job: Job, start: Callable[[Job], AbstractContextManager[Started]]) -> Grown:
    """Start an app over the job's topic, look at it idle, drain the backlog, and check what it stored."""
    with redis.Redis.from_url(job.redis_url) as server:
        server.flushall()
    with backlog(job, ENTITIES) as release:
        began = time.monotonic()
        with start(job) as app:
            all_run(app.client, job.partitions)
            took = time.monotonic() - began
            settle(app.processes, START_SECONDS, QUIET_SHARE + IDLE_SHARE * job.partitions)
            memory = _unique(app.processes())
            with watching(app.processes) as idle:
                time.sleep(IDLE_SECONDS)  # the time over which it is measured
            with watching(lambda: [*app.processes(), *servers(job)]) as usage:
                released = release()
                all_done(app.client, job.events)
        seconds = last_commit(app.database) - released
    check(app.database, job.redis_url, job.events)
    partitions = [size for name, size in memory if name == PARTITION]
    found = Grown(
        partitions=job.partitions,
        start_s=round(took, 1),
        partition_mb=round(sum(partitions) / len(partitions) / MB),
        app_mb=round(sum(size for _, size in memory) / MB),
        idle_cores=round(idle.cpu_seconds / IDLE_SECONDS, 3),
        idle_supervisor=round(idle.cpu.get(SUPERVISOR, 0.0) / IDLE_SECONDS, 3),
        events_per_second=round(job.events / seconds),
        cpu_us_per_event=round(usage.cpu_seconds / job.events * 1e6, 1),
        cores={name: round(usage.cpu.get(name, 0.0) / seconds, 2) for name in SHOWN},
    )
    say.print(found)
    return found


def _unique(processes: Iterable[psutil.Process]) -> list[tuple[str, int]]:
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found.append((process_name(process), process.memory_full_info().uss))
    return found


def show(found: Sequence[Grown], *, as_json: bool = False) -> None:
    """Print a table, or JSON."""
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
        return
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    table = Table(title=f"{datetime.now(UTC).date().isoformat()}, {machine}", title_justify="left")
    columns = ("partitions", "starts in s", "MB each", "MB of the app", "idle cores", "of the supervisor")
    for column in (*columns, "events/s", "CPU µs an event", "cores: partitions", "writer", "Valkey", "Kafka"):
        table.add_column(column, justify="right")
    for one in found:
        figures = (one.partitions, one.start_s, one.partition_mb, one.app_mb, one.idle_cores, one.idle_supervisor)
        table.add_row(*(f"{x:,}" for x in (*figures, one.events_per_second, one.cpu_us_per_event, *one.cores.values())))
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


if __name__ == "__main__":
    main()
