"""Memory of every process while a backlog drains, and while a store is slow or frozen. `python -m bench.backlog`.

Real parts: Kafka, Valkey, Ray and the app as a user starts it. The backlog becomes visible at once (bench/prepare.py). With
`--writer-slow` the writer's process is stopped nine tenths of the time for a while, with `--redis-frozen` Valkey is stopped
altogether: reading must stop, and memory must not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.check import check
from bench.drains import Job, backlog
from bench.measure import family, process_name
from bench.raytide_drain import running_app
from cluster.stack import manager
from cluster.status import StatusReport
from raytide.client import RaytideClient

SAMPLE_SECONDS = 0.5
PHASE_SECONDS = 20.0
MARKS = (0.0, 0.1, 0.5, 1.0)
STOPPED_SECONDS, RUNNING_SECONDS = 0.9, 0.1
say = Console(stderr=True)


@dataclass(frozen=True)
class Look:
    """Resident bytes by process, and how many events were done."""

    at: float
    done: int
    rss: dict[str, int]


@dataclass
class Watch:
    """Looks at every process of the app and its servers until the block ends."""

    head: int
    servers: dict[int, str]
    client: RaytideClient
    looks: list[Look] = field(default_factory=list)

    def look(self) -> Look:
        """Take one look; while the app cannot say how far it is, it is where it was."""
        done = self.looks[-1].done if self.looks else 0
        with suppress(Exception):
            done = events_done(self.client.status())
        rss: dict[str, int] = {}
        for process in [*family(self.head), *(p for pid in self.servers for p in family(pid))]:
            with suppress(psutil.Error):
                name = self.servers.get(process.pid) or process_name(process)
                rss[f"{name} ({process.pid})"] = process.memory_info().rss
        self.looks.append(Look(time.monotonic(), done, rss))
        return self.looks[-1]


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    python = environment.ensure(state / "bench-venv")
    folder = Path(tempfile.mkdtemp(prefix="backlog-", dir=state))
    try:
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        services = {service.pid: service.name for service in stack.services}
        job = Job(
            "bench.backlog", options.events, str(stack.bootstrap_servers), str(stack.redis_url), folder, python, tuple(services)
        )
        report = _run(job, options, services)
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="events in the backlog (default %(default)s)")
    parser.add_argument("--entities", type=int, default=100_000, help="different entities (default %(default)s)")
    parser.add_argument("--redis-frozen", action="store_true", help="freeze Valkey for 20 s in the middle")
    parser.add_argument("--writer-slow", action="store_true", help="stop the writer nine tenths of the time for 20 s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _run(job: Job, options: argparse.Namespace, services: dict[int, str]) -> dict[str, Any]:
    # A writer that is stopped on purpose must not be taken for one that hangs.
    os.environ["RAYTIDE_RAY__UNRESPONSIVE_S"] = "600"
    say.print(f"preparing {job.events:,} events")
    with backlog(job, options.entities) as release, running_app(job) as (client, head):
        _until(lambda: all(p.state == "RUNNING" for p in client.status().partitions), 120)
        watch = Watch(head, services, client)
        watch.look()
        started = time.monotonic()
        release()
        phases = list(_phases(watch, options, job.events))
        _sample(watch, lambda look: look.done >= job.events, 7_200)
        seconds = time.monotonic() - started
    check(job.folder / ".raytide" / "features.duckdb", job.redis_url, job.events)
    return {
        "events": job.events,
        "entities": options.entities,
        "seconds": round(seconds, 1),
        "phases": phases,
        **_memory(watch),
    }


def _phases(watch: Watch, options: argparse.Namespace, events: int) -> Iterator[dict[str, Any]]:
    if options.writer_slow:
        _sample(watch, lambda look: look.done >= events * 0.2, 3_600)
        (writer,) = [p for p in family(watch.head) if process_name(p) == "Writer"]
        with _duty_cycle(writer):
            yield _phase(watch, "writer slow")
    if options.redis_frozen:
        _sample(watch, lambda look: look.done >= events * 0.4, 3_600)
        (valkey,) = [psutil.Process(pid) for pid, name in watch.servers.items() if name == manager.VALKEY]
        valkey.suspend()
        try:
            yield _phase(watch, "Redis frozen")
        finally:
            valkey.resume()


def _phase(watch: Watch, name: str) -> dict[str, Any]:
    before = watch.looks[-1]
    end = time.monotonic() + PHASE_SECONDS
    _sample(watch, lambda look: look.at >= end, PHASE_SECONDS + 60)
    looks = [look for look in watch.looks if look.at > before.at]
    growth = {name: max(look.rss.get(name, 0) for look in looks) - size for name, size in before.rss.items()}
    grown = sorted(growth.items(), key=lambda item: -item[1])[:4]
    return {
        "phase": name,
        "events": looks[-1].done - before.done,
        "seconds": round(looks[-1].at - before.at, 1),
        "most_grown_mb": {name: round(size / 1e6, 1) for name, size in grown},
    }


@contextmanager
def _duty_cycle(process: psutil.Process) -> Iterator[None]:
    stop = threading.Event()

    def cycle() -> None:
        while not stop.is_set():
            process.send_signal(signal.SIGSTOP)
            stop.wait(STOPPED_SECONDS)
            process.send_signal(signal.SIGCONT)
            stop.wait(RUNNING_SECONDS)

    thread = threading.Thread(target=cycle)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _sample(watch: Watch, reached: Callable[[Look], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached(watch.look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not there after {seconds:.0f} s: {watch.looks[-1].done:,} events")
        time.sleep(SAMPLE_SECONDS)


def _until(reached: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the app is not ready after {seconds:.0f} s")
        time.sleep(SAMPLE_SECONDS)


def _memory(watch: Watch) -> dict[str, Any]:
    """Return MB of each process when it was first seen with each mark reached, and its peak."""
    total = watch.looks[-1].done
    marks = [next(look for look in watch.looks if look.done >= total * mark) for mark in MARKS]
    names = sorted({name for look in watch.looks for name in look.rss})
    return {
        "marks": [round(mark * 100) for mark in MARKS],
        "rss_mb": {
            name: [*(round(mark.rss.get(name, 0) / 1e6) for mark in marks), round(_peak(watch, name) / 1e6)] for name in names
        },
    }


def _peak(watch: Watch, name: str) -> int:
    return max(look.rss.get(name, 0) for look in watch.looks)


def events_done(report: StatusReport) -> int:
    """Return how many events became rows or rejects since the app started."""
    return sum(p.events + p.rejected for p in report.partitions)


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    rate = report["events"] / report["seconds"]
    console.print(f"{report['events']:,} events of {report['entities']:,} entities in {report['seconds']} s, {rate:,.0f}/s")
    table = Table(title="resident memory, MB", title_justify="left")
    for column in ("process", *(f"{mark} %" for mark in report["marks"]), "peak"):
        table.add_column(column, justify="left" if column == "process" else "right", no_wrap=True)
    for name, sizes in sorted(report["rss_mb"].items(), key=lambda item: -item[1][-1]):
        table.add_row(name, *map(str, sizes))
    console.print(table)
    for phase in report["phases"]:
        grown = ", ".join(f"{name} {mb:+} MB" for name, mb in phase["most_grown_mb"].items())
        console.print(f"{phase['phase']}: {phase['events']:,} events in {phase['seconds']} s; most grown: {grown}")


if __name__ == "__main__":
    main()
