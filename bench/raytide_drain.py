"""The drain by Raytide: the app as a user starts it, in a folder of its own, on the benchmark's Kafka and Valkey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb

from bench.drains import BENCH, Drained, Job, Release, servers
from bench.measure import family, settle, watching
from cluster.status import StatusReport
from raytide.client import RaytideClient

POLL_SECONDS = 0.5
START_SECONDS = 300
DRAIN_SECONDS = 600


def drain_with_raytide(job: Job, release: Release) -> Drained:
    """Drain with `raytide up`, fresh; the time of the last commit is the one in its ledger."""
    with running_app(job) as (client, head):
        all_run(client, job.partitions)
        settle(lambda: family(head), START_SECONDS)  # spare workers import what they need after the app is up
        with watching(lambda: [*family(head), *servers(job)]) as usage:
            started = release()
            all_done(client, job.events)
    database = job.folder / ".raytide" / "features.duckdb"
    return Drained(last_commit(database) - started, usage, database)


def all_run(client: RaytideClient, partitions: int) -> None:
    """Return when so many partitions read."""
    _wait(
        client,
        lambda report: len(report.partitions) == partitions and all(p.state == "RUNNING" for p in report.partitions),
        START_SECONDS,
    )


def all_done(client: RaytideClient, events: int) -> None:
    """Return when so many events are stored or rejected."""
    _wait(client, lambda report: sum(p.events + p.rejected for p in report.partitions) >= events, DRAIN_SECONDS)


@contextmanager
def running_app(job: Job, project: Path = BENCH / "store") -> Iterator[tuple[RaytideClient, int]]:
    """Start the app; yield a client and the process id under which all of it runs."""
    up = [sys.executable, "-m", "cluster", "up", "--project", str(project)]
    down = [sys.executable, "-m", "cluster", "down"]
    with (job.folder / "raytide.log").open("w", encoding="utf-8") as log:
        try:
            subprocess.run(up, cwd=job.folder, env=_environment(job), stdout=log, stderr=log, check=True)  # noqa: S603 - ours
            app = json.loads((job.folder / ".raytide" / "app.json").read_text(encoding="utf-8"))
            with RaytideClient(app["gateway"]) as client:
                yield client, app["head"]["process"]["pid"]
        finally:
            subprocess.run(down, cwd=job.folder, env=_environment(job), stdout=log, stderr=log, check=True)  # noqa: S603 - ours


def _environment(job: Job) -> Mapping[str, str]:
    return {
        **os.environ,
        "BENCH_TOPIC": job.topic,
        "RAYTIDE_KAFKA__BOOTSTRAP_SERVERS": job.bootstrap,
        "RAYTIDE_ONLINE_STORE__CONNECTION_STRING": job.redis_url,
        "RAYTIDE_GATEWAY__PORT": "0",
        "RAYTIDE_RAY__DASHBOARD_PORT": "0",
    }


def _wait(client: RaytideClient, reached: Callable[[StatusReport], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached(report := client.status()):
        if time.monotonic() > deadline:
            states = ", ".join(f"{p.topic}[{p.partition}] {p.state} {p.note}".strip() for p in report.partitions)
            raise TimeoutError(f"not there after {seconds:.0f} s: {states or 'no partitions'}")
        time.sleep(POLL_SECONDS)


def last_commit(database: os.PathLike[str]) -> float:
    """Return when the last batch was durable, in seconds since 1970."""
    with duckdb.connect(str(database), read_only=True) as connection:
        row = connection.execute("SELECT epoch(max(committed_at)) FROM batches").fetchone()
    return float(row[0])
