"""What a drain is, and the one by the plain loop."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import psutil

from bench.measure import Usage, family, watching
from cluster.stack.manager import StackStatus

BENCH = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """A backlog to drain, and where everything is."""

    topic: str
    events: int
    bootstrap: str
    redis_url: str
    folder: Path
    bench_python: Path
    servers: tuple[int, ...]  # process ids of Kafka and Valkey
    partitions: int = 2


def job_on(stack: StackStatus, name: str, events: int, folder: Path, bench_python: Path) -> Job:
    """Return a job with a topic of two partitions and a folder of its own below `folder`."""
    run = folder / name
    run.mkdir()
    return Job(
        topic=f"bench.{name}",
        events=events,
        bootstrap=str(stack.bootstrap_servers),
        redis_url=str(stack.redis_url),
        folder=run,
        bench_python=bench_python,
        servers=tuple(service.pid for service in stack.services),
    )


@dataclass(frozen=True)
class Drained:
    """How a drain went: from the release of the backlog until the last record was durable."""

    seconds: float
    usage: Usage
    database: Path


class Release(Protocol):
    """Makes the backlog visible."""

    def __call__(self) -> float:
        """Return the time at which that began."""


def drain_with_plain_loop(job: Job, release: Release) -> Drained:
    """Drain with bench/plain_loop.py."""
    database = job.folder / "plain.duckdb"
    command = [BENCH / "plain_loop.py", job.bootstrap, job.topic, str(job.events), job.redis_url, database]
    with script(job.bench_python, *command) as process:
        expect(process, "ready")
        with watching(lambda: [*family(process.pid), *servers(job)]) as usage:
            started = release()
            ended = float(line(process))
    return Drained(ended - started, usage, database)


def servers(job: Job) -> list[psutil.Process]:
    """Return the processes of Kafka and Valkey."""
    return [process for pid in job.servers for process in family(pid)]


@contextmanager
def backlog(job: Job, entities: int) -> Iterator[Release]:
    """Prepare the job's topic; yield what releases it."""
    arguments = [job.bootstrap, job.topic, str(entities), str(job.events), str(job.partitions)]
    with script(job.bench_python, BENCH / "prepare.py", *arguments) as process:
        expect(process, "prepared")

        def release() -> float:
            pipe: IO[str] | None = process.stdin
            assert pipe is not None  # noqa: S101 - `script` opened it
            pipe.write("\n")
            pipe.flush()
            return float(line(process))

        yield release


@contextmanager
def script(python: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script that talks in lines; it is ended with the block."""
    command = [str(python), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        yield process
        process.communicate(timeout=30)  # closes its input, which ends it
    finally:
        process.kill()
        process.wait()


def expect(process: subprocess.Popen[str], word: str) -> None:
    """Wait for a script to say `word`."""
    if (said := line(process)) != word:
        raise RuntimeError(f"{process.args!r} said {said!r} instead of {word!r}: its own error is above")


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a script prints, empty when it ended."""
    assert process.stdout is not None  # noqa: S101 - `script` opened it
    return process.stdout.readline().strip()
