"""How long a stream's events take to be durable, alone and beside a file and a backfill. `python -m bench.beside`.

An event's time is from its producer's clock to the commit of its batch, as the ledger has it. All three phases are in one
run of one app, on real parts, under the same stream.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.drains import BENCH, Job, expect, script
from bench.measure import family, settle
from bench.raytide_drain import running_app
from cluster.backfills import Asked
from cluster.stack import manager
from raytide.client import RaytideClient

START_SECONDS = 120.0
#: The first seconds of a phase belong to what came before it.
SKIPPED_SECONDS = 1.0
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
LATENCY = """
    WITH late AS (
        SELECT (epoch_us(b.committed_at) - epoch_us(f.created_at)) / 1000 AS ms
        FROM features AS f ASOF JOIN batches AS b ON f.source_id = b.source_id AND f.position >= b.first_position
        WHERE feature_name = 'amount' AND f.source_id IN (SELECT source_id FROM sources WHERE kind = 'stream')
            AND epoch_us(f.created_at) >= {start} AND epoch_us(f.created_at) < {end}
    )
    SELECT count(*) AS events, quantile_cont(ms, 0.5) AS p50, quantile_cont(ms, 0.99) AS p99, max(ms) AS worst FROM late"""

say = Console(stderr=True)


@dataclass(frozen=True)
class Phase:
    """Milliseconds from an event's producer to its commit, over one phase."""

    name: str
    seconds: float
    events: int
    p50: float
    p99: float
    worst: float


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    python = environment.ensure(state / "bench-venv")
    folder = Path(tempfile.mkdtemp(prefix="beside-", dir=state))
    try:
        stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
        job = Job("bench.beside", options.old, str(stack.bootstrap_servers), str(stack.redis_url), folder, python, ())
        phases = list(_run(job, options))
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps([asdict(phase) for phase in phases], indent=2) + "\n")
    else:
        _print(phases, options.rate)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.beside", description=__doc__)
    parser.add_argument("--rate", type=int, default=5_000, help="events a second of the stream (default %(default)s)")
    parser.add_argument("--old", type=int, default=1_000_000, help="events that are computed anew (default %(default)s)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the file (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the stream alone (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _run(job: Job, options: argparse.Namespace) -> Iterator[Phase]:
    project = job.folder / "orders"
    shutil.copytree(BENCH / "orders", project)
    file = _write(job.folder / "orders.csv", options.rows)
    sender = [BENCH / "steady.py", job.bootstrap, job.topic, str(options.old), str(options.rate)]
    with script(job.bench_python, *sender) as process, running_app(job, project) as (client, head):
        expect(process, "ready")
        say.print(f"{options.old:,} old events are sent")
        while _events(client) < options.old:
            time.sleep(0.5)
        settle(lambda: family(head), START_SECONDS)
        assert process.stdin is not None  # noqa: S101 - `script` opened it
        process.stdin.write("\n")
        process.stdin.flush()
        yield _phase(client, "alone", lambda: time.sleep(options.seconds))
        yield _phase(client, "a file comes in", lambda: _upload(client, file))
        definitions = project / "definitions.py"
        definitions.write_text(
            definitions.read_text(encoding="utf-8").replace("FACTOR = 1.0", "FACTOR = 2.0"), encoding="utf-8"
        )
        _apply(job, project)
        yield _phase(client, "a backfill runs", lambda: _backfill(client, options.old))
        yield _phase(client, "alone again", lambda: time.sleep(options.seconds))


def _write(path: Path, rows: int) -> Path:
    """Write orders of 2025, which no other phase touches."""
    random = np.random.default_rng(1)
    first = int((FIRST - timedelta(days=180)).timestamp())
    times = pa.array(first + np.arange(rows), pa.timestamp("s"))
    users = pa.array([f"user_{n}" for n in range(10_000)]).take(pa.array(random.integers(10_000, size=rows)))
    pyarrow.csv.write_csv(pa.table({"user_id": users, "at": times, "amount": random.normal(size=rows)}), path)
    return path


def _events(client: RaytideClient) -> int:
    return sum(partition.events + partition.rejected for partition in client.status().partitions)


def _phase(client: RaytideClient, name: str, work: Callable[[], object]) -> Phase:
    """Do the work; return how long the events that were sent meanwhile took."""
    started = time.time()
    work()
    ended = time.time()
    before = _events(client)
    while _events(client) < before + 1:  # whatever was sent before is committed, once something sent later is
        time.sleep(0.5)
    bounds = {"start": int((started + SKIPPED_SECONDS) * 1e6), "end": int(ended * 1e6)}
    [found] = client.sql(LATENCY.format(**bounds)).to_pylist()
    phase = Phase(name, round(ended - started, 1), found["events"], *(round(found[key], 1) for key in ("p50", "p99", "worst")))
    say.print(phase)
    return phase


def _upload(client: RaytideClient, file: Path) -> None:
    done = client.upload_file(file, source="orders")
    if (done.state, done.rejected) != ("DONE", 0):
        raise AssertionError(f"the file ended as {done}")


def _apply(job: Job, project: Path) -> None:
    command = [sys.executable, "-m", "cluster", "apply", "--project", str(project)]
    environment_ = {**os.environ, "BENCH_TOPIC": job.topic}
    subprocess.run(command, cwd=job.folder, env=environment_, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ours


def _backfill(client: RaytideClient, old: int) -> None:
    bounds = (int(at.timestamp() * 1e6) for at in (FIRST, FIRST + timedelta(seconds=old)))
    *_, last = client.backfill(Asked("users", *bounds))
    if str(last.backfill.state) != "DONE":
        raise AssertionError(f"the backfill ended as {last}")


def _print(phases: list[Phase], rate: int) -> None:
    table = Table(title=f"{os.cpu_count()} CPUs, a stream of {rate:,} events a second", title_justify="left")
    for column in ("phase", "seconds", "events", "p50, ms", "p99, ms", "worst, ms", "p99, times that of alone"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase in phases:
        ratio = f"{phase.p99 / phases[0].p99:.2f}"
        figures = (f"{phase.seconds}", f"{phase.events:,}", f"{phase.p50:,.0f}", f"{phase.p99:,.0f}", f"{phase.worst:,.0f}")
        table.add_row(phase.name, *figures, ratio)
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
