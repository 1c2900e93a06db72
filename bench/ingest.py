"""Events a second through Raytide and, in alternation, through a plain confluent-kafka loop. `python -m bench.ingest`.

Each drain gets a topic of its own with the same backlog, an empty DuckDB file and an empty Redis, and its result is
checked. The clock runs from the moment the backlog becomes visible (bench/prepare.py) to the last durable commit.
Kafka and Valkey are the benchmark's own.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.check import check
from bench.drains import Drained, backlog, drain_with_plain_loop, job_on
from bench.raytide_drain import drain_with_raytide
from cluster.stack import manager
from cluster.stack.manager import StackStatus

DRAINS = {"plain loop": drain_with_plain_loop, "raytide": drain_with_raytide}
KEY_SETS = {"100 x 5": 100, "100,000 x 5": 100_000}
SERVERS = ("java", "valkey-server")

say = Console(stderr=True)


@dataclass(frozen=True)
class Result:
    """One drain, in figures. CPU without the servers, which do the same for both but are shown too."""

    system: str
    keys: str
    events: int
    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    peak_rss: Mapping[str, int]

    @classmethod
    def of(cls, system: str, keys: str, events: int, drained: Drained) -> Result:
        """Divide a drain's CPU between the system and the servers."""
        cpu = drained.usage.cpu
        servers = sum(seconds for name, seconds in cpu.items() if name in SERVERS)
        return cls(system, keys, events, drained.seconds, drained.usage.cpu_seconds - servers, servers, drained.usage.peak_rss)


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    say.print("preparing the bench environment")
    python = environment.ensure(state / "bench-venv")
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=state))
    try:
        with _stack(folder) as stack:
            results = [result for round_ in range(options.rounds) for result in _round(round_, options, stack, folder, python)]
    finally:
        if options.keep:
            say.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    report = _report(results)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in each backlog (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="drains of each kind; the median counts (default %(default)s)")
    parser.add_argument("--only", choices=list(DRAINS), help="leave out the other one")
    parser.add_argument("--keep", action="store_true", help="keep stores and logs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


@contextmanager
def _stack(folder: Path) -> Iterator[StackStatus]:
    try:
        yield manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
    finally:
        manager.down(folder)


def _round(round_: int, options: argparse.Namespace, stack: StackStatus, folder: Path, python: Path) -> Iterator[Result]:
    systems = [options.only] if options.only else list(DRAINS)
    for keys, entities in KEY_SETS.items():
        totals = set()
        for system in systems if round_ % 2 == 0 else reversed(systems):
            job = job_on(stack, f"{system}-{entities}-{round_}".replace(" ", "-"), options.events, folder, python)
            with redis.Redis.from_url(job.redis_url) as server:
                server.flushall()
            with backlog(job, entities) as release:
                drained = DRAINS[system](job, release)
            totals.add(check(drained.database, job.redis_url, options.events))
            result = Result.of(system, keys, options.events, drained)
            say.print(
                f"round {round_ + 1}  {keys:12} {system:10} {result.events / result.seconds:10,.0f} events/s", highlight=False
            )
            yield result
        if len(totals) > 1:
            raise AssertionError(f"the drains of {keys} stored different values: {totals}")


def _report(results: Sequence[Result]) -> dict[str, Any]:
    """Return medians of each key set and system, and how many times the plain loop Raytide makes."""
    rows = [
        _median([result for result in results if (result.keys, result.system) == (keys, system)])
        for keys in KEY_SETS
        for system in DRAINS
        if any((result.keys, result.system) == (keys, system) for result in results)
    ]
    figures = ("events_per_second", "events_per_cpu_second")
    by_keys = {keys: {row["system"]: row for row in rows if row["keys"] == keys} for keys in KEY_SETS}
    ratios = {
        keys: {figure: round(found["raytide"][figure] / found["plain loop"][figure], 2) for figure in figures}
        for keys, found in by_keys.items()
        if len(found) == len(DRAINS)
    }
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "results": rows, "ratios": ratios}


def _median(runs: Sequence[Result]) -> dict[str, Any]:
    names = sorted({name for run in runs for name in run.peak_rss})
    return {
        "system": runs[0].system,
        "keys": runs[0].keys,
        "events": runs[0].events,
        "runs": [round(run.events / run.seconds) for run in runs],
        "events_per_second": round(statistics.median(run.events / run.seconds for run in runs)),
        "events_per_cpu_second": round(statistics.median(run.events / run.cpu_seconds for run in runs)),
        "events_per_cpu_second_with_servers": round(
            statistics.median(run.events / (run.cpu_seconds + run.server_cpu_seconds) for run in runs),
        ),
        "peak_rss_mb": {name: round(max(run.peak_rss.get(name, 0) for run in runs) / 1e6) for name in names},
    }


def _print(report: Mapping[str, Any]) -> None:
    table = Table(title=f"{report['date']}, {report['machine']}", title_justify="left")
    for column in ("keys", "system", "events/s", "events/CPU-s", "with servers"):
        table.add_column(column, justify="left" if column in {"keys", "system"} else "right", no_wrap=True)
    for row in report["results"]:
        figures = (row["events_per_second"], row["events_per_cpu_second"], row["events_per_cpu_second_with_servers"])
        table.add_row(row["keys"], row["system"], *(f"{figure:,}" for figure in figures))
    console = Console(highlight=False)
    console.print(table)
    for row in report["results"]:
        memory = ", ".join(f"{name} {mb}" for name, mb in sorted(row["peak_rss_mb"].items(), key=lambda item: -item[1]))
        console.print(f"peak MB, {row['keys']}, {row['system']}: {memory}")
    for keys, ratios in report["ratios"].items():
        wall, cpu = ratios["events_per_second"], ratios["events_per_cpu_second"]
        console.print(
            f"{keys}: Raytide makes {wall} times the plain loop's events/s, {cpu} times its events for each CPU second"
        )


if __name__ == "__main__":
    main()
