"""Online reads alone, and while the generator sends as fast as it can. `python -m bench.online_loaded`.

The app is the demo as a user starts it, on real parts; reads come one after another from one client. Everything shares the
machine: the generator, Kafka, Valkey, Ray, the app and the client.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.drains import Job
from bench.measure import family, settle
from bench.raytide_drain import running_app
from cluster.stack import manager
from raytide.client import RaytideClient

DEMO = Path(__file__).parents[1] / "examples" / "demo"
ENTITIES = 1_000
SERVICE = "fraud_v1"
SIZES = (1, 100)
START_SECONDS = 120.0
#: The generator imports, connects and fills its pipes before anything counts.
WARM_SECONDS = 5.0

say = Console(stderr=True)


@dataclass(frozen=True)
class Phase:
    """Reads of one size in one phase: milliseconds; and how many events a second came in meanwhile."""

    name: str
    entities: int
    reads: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    events_per_s: float


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="loaded-", dir=state))
    try:
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        job = Job("", 0, str(stack.bootstrap_servers), str(stack.redis_url), folder, Path(sys.executable), ())
        phases = list(_run(job, options.seconds))
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps([asdict(phase) for phase in phases], indent=2) + "\n")
    else:
        _print(phases)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.online_loaded", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of reads of each size in each phase (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _run(job: Job, seconds: float) -> Iterator[Phase]:
    with running_app(job, DEMO) as (client, head):
        with _generator(job, "--count", str(10 * ENTITIES)) as first:
            first.wait()
        settle(lambda: family(head), START_SECONDS)
        yield from _reads(client, "alone", seconds)
        with _generator(job):
            time.sleep(WARM_SECONDS)
            yield from _reads(client, "events at full speed", seconds)
        settle(lambda: family(head), START_SECONDS)
        yield from _reads(client, "alone again", seconds)


@contextmanager
def _generator(job: Job, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "generator", "--rate", "0", "--no-uploads", "--entities", str(ENTITIES), *more]
    # As from another terminal: Linux shares processors between sessions.
    process = subprocess.Popen(  # noqa: S603 - ours
        [*command, "--bootstrap-servers", job.bootstrap], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _reads(client: RaytideClient, name: str, seconds: float) -> Iterator[Phase]:
    for size in SIZES:
        before, started = _events(client), time.monotonic()
        took = _latencies(client, size, seconds)
        rate = (_events(client) - before) / (time.monotonic() - started)
        p50, p99 = (round(float(ms), 2) for ms in np.quantile(took, [0.5, 0.99]))
        phase = Phase(name, size, len(took), p50, p99, round(max(took), 1), round(rate, 1))
        say.print(phase)
        yield phase


def _latencies(client: RaytideClient, size: int, seconds: float) -> list[float]:
    numbers, took, end = np.random.default_rng(size), list[float](), time.monotonic() + seconds
    while time.monotonic() < end:
        users = [f"user_{n}" for n in numbers.integers(1, ENTITIES + 1, size=size)]
        started = time.perf_counter()
        client.get_online_features(SERVICE, users)
        took.append((time.perf_counter() - started) * 1000)
    return took


def _events(client: RaytideClient) -> int:
    return sum(partition.events + partition.rejected for partition in client.status().partitions)


def _print(phases: list[Phase]) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    title = f"{datetime.now(UTC).date().isoformat()}, {machine}: online reads of the demo's service {SERVICE}"
    table = Table(title=title, title_justify="left")
    for column in ("phase", "entities", "reads", "p50 ms", "p99 ms", "worst ms", "events/s meanwhile"):
        table.add_column(column, justify="left" if column == "phase" else "right", no_wrap=True)
    for p in phases:
        figures = (f"{p.p50_ms:.2f}", f"{p.p99_ms:.2f}", f"{p.worst_ms:.0f}", f"{p.events_per_s:,.0f}")
        table.add_row(p.name, str(p.entities), f"{p.reads:,}", *figures)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
