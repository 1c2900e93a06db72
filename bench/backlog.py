"""Memory while a long backlog drains, and while a store stands still. `python -m bench.backlog --events 10000000`.

The backlog of bench/prepare.py is released at once. On the way Redis is frozen for some seconds, and later the writer runs for
a twentieth of the time only: reading must stop or slow down, and no process may grow. At the end everything must be there.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.check import check
from bench.drains import Job, backlog, servers
from bench.measure import family, name_of
from bench.raytide_drain import app_of, wait_for
from cluster.stack import manager
from raytide.client import RaytideClient

SECONDS = 0.5
HOLD_SECONDS = 15.0
STILL_S, AWAKE_S = 0.19, 0.01
START_SECONDS, DRAIN_SECONDS = 120, 1_800
#: Ray's own helpers and short-lived tasks are not shown one by one.
SHOWN = ("Writer", "Partition", "Gateway", "Supervisor", "Limiter", "raylet", "gcs_server", "java", "valkey-server")

console = Console(highlight=False, width=150)


@dataclass
class Look:
    """One look: how many events were read by then, and the resident MB of the largest process of each name."""

    events: int
    rss: dict[str, int]


@dataclass
class Log:
    """Every look of a run, and what was held when."""

    looks: list[Look] = field(default_factory=list)
    holds: dict[str, tuple[Look, Look]] = field(default_factory=dict)


def main() -> None:
    """Run what the command line asks for and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="events in the backlog (default %(default)s)")
    parser.add_argument("--entities", type=int, default=10_000, help="entities they are about (default %(default)s)")
    options = parser.parse_args()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    python = environment.ensure(state / "bench-venv")
    folder = Path(tempfile.mkdtemp(prefix="backlog-", dir=state))
    try:
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        run = folder / "run"
        run.mkdir()
        pids = tuple(service.pid for service in stack.services)
        addresses = (str(stack.bootstrap_servers), str(stack.redis_url))
        job = Job("bench.backlog", options.events, *addresses, run, python, pids)
        _print(_drain(job, options.entities), options.events)
        check(job.folder / ".raytide" / "features.duckdb", job.redis_url, options.events)
        console.print(f"all {options.events:,} events are in history once, and Redis is at the newest")
    finally:
        manager.down(folder)
        shutil.rmtree(folder)


def _drain(job: Job, entities: int) -> Log:
    with backlog(job, entities) as release, app_of(job) as (client, head):
        wait_for(client, lambda report: {p.state for p in report.partitions} == {"RUNNING"}, START_SECONDS)
        log = Log()
        with _looking(client, lambda: [*family(head), *servers(job)], log):
            log.looks.append(_look(client, [*family(head), *servers(job)]))
            release()
            valkey = next(pid for pid in job.servers if "valkey" in psutil.Process(pid).name())
            _hold("Redis frozen", log, job.events // 4, lambda: _frozen(valkey))
            writer = next(p.pid for p in family(head) if name_of(p) == "Writer")
            _hold("writer at a twentieth", log, job.events // 2, lambda: _stuttering(writer))
            _until(log, job.events)
        return log


def _hold(what: str, log: Log, events: int, hold: Callable[[], object]) -> None:
    """Hold something when so many events were read, and remember the looks before and after."""
    _until(log, events)
    with hold():  # type: ignore[attr-defined] # a context manager
        time.sleep(SECONDS * 6)  # what was in flight has come to rest
        before = log.looks[-1]
        time.sleep(HOLD_SECONDS)  # how long it lasts is what is tried
        log.holds[what] = before, log.looks[-1]


def _until(log: Log, events: int) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while log.looks[-1].events < events:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{log.looks[-1].events:,} of {events:,} events after {DRAIN_SECONDS} s")
        time.sleep(SECONDS)


@contextmanager
def _looking(client: RaytideClient, processes: Callable[[], list[psutil.Process]], log: Log) -> Iterator[None]:
    done = threading.Event()

    def look() -> None:
        while not done.wait(SECONDS):
            log.looks.append(_look(client, processes()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _look(client: RaytideClient, processes: list[psutil.Process]) -> Look:
    rss: dict[str, int] = {}
    for process in processes:
        try:
            name, size = name_of(process), process.memory_info().rss // 1_000_000
        except psutil.Error:
            continue
        rss[name] = max(rss.get(name, 0), size)
    return Look(sum(p.events + p.rejected for p in client.status().partitions), rss)


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _stuttering(pid: int) -> Iterator[None]:
    done = threading.Event()

    def stutter() -> None:
        while not done.is_set():
            os.kill(pid, signal.SIGSTOP)
            done.wait(STILL_S)
            os.kill(pid, signal.SIGCONT)
            done.wait(AWAKE_S)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _print(log: Log, events: int) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    table = Table(title=f"resident MB, {events:,} events, {datetime.now(UTC).date()}, {machine}", title_justify="left")
    marks = {f"{share} %": _at(log, events * share // 100) for share in (5, 25, 50, 75, 100)}
    columns = ["process", "at the start", *marks, "peak", *(f"{what}: before, after" for what in log.holds)]
    for column in columns:
        table.add_column(column, justify="left" if column == "process" else "right")
    for name in (name for name in SHOWN if name in log.looks[-1].rss):
        steps = [log.looks[0].rss.get(name, 0), *(look.rss.get(name, 0) for look in marks.values())]
        held = [f"{before.rss.get(name, 0)}, {after.rss.get(name, 0)}" for before, after in log.holds.values()]
        table.add_row(name, *map(str, [*steps, max(look.rss.get(name, 0) for look in log.looks)]), *held)
    console.print(table)
    for what, (before, after) in log.holds.items():
        console.print(f"{what} for {HOLD_SECONDS:.0f} s: {after.events - before.events:,} events read meanwhile")


def _at(log: Log, events: int) -> Look:
    return next(look for look in log.looks if look.events >= events)


if __name__ == "__main__":
    main()
