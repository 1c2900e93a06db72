"""Rows a second of a file through Raytide, beside DuckDB's own INSERT ... SELECT of the same file. `python -m bench.files`.

Raytide's clock runs from the client's first look at the file to DONE: checksums, gRPC on loopback, spool, validation, one
transaction and the newest values in Redis. The bare statement reads the file where it lies, into an empty file with the same
table. Both systems take each file in turn; Raytide's store grows from file to file. Last, Feast pushes some rows to its online
and offline store, beside Raytide taking the same rows as a file: Feast does not take five million of them in one go.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bench import feast_environment
from bench.drains import BENCH, Job, line, script
from bench.measure import Usage, family, settle, watching
from bench.raytide_drain import running_app
from cluster.stack import manager
from raytide.answers import UploadProgressView
from raytide.client import RaytideClient

FORMATS = ("parquet", "csv", "jsonl")
START_SECONDS = 120.0
FIRST_ROWS = 1_000_000
#: 2026-01-01; a row every millisecond.
FIRST_US, STEP_US = 1_767_225_600_000_000, 1_000
COLUMNS = {
    "entity_id": "VARCHAR",
    "feature_name": "VARCHAR",
    "value": "DOUBLE",
    "validated_at": "TIMESTAMP",
    "created_at": "TIMESTAMP",
}
TABLE = """CREATE TABLE features(entity_id VARCHAR, feature_name VARCHAR, value DOUBLE, event_timestamp TIMESTAMP,
    created_at TIMESTAMP, source_id INTEGER, position BIGINT)"""
INSERT = """INSERT INTO features SELECT entity_id, feature_name, value, validated_at, created_at, 0, 0 FROM {reader}"""

say = Console(stderr=True)


@dataclass(frozen=True)
class Result:
    """One file's way into an empty or growing store. `committed` is when its rows were durable."""

    format: str
    system: str
    rows: int
    bytes: int
    seconds: float
    committed: float
    peak_rss_mb: dict[str, int]


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="files-", dir=state))
    try:
        results = list(_run(options, folder))
    finally:
        manager.down(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        sys.stdout.write(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    else:
        _print(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows in each file (default %(default)s)")
    parser.add_argument(
        "--entities", type=int, default=10_000, help="different entities, five features each (default %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="times each file is taken; the median counts (default %(default)s)"
    )
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="which formats")
    parser.add_argument("--pushed", type=int, default=100_000, help="rows that Feast pushes, 0 for none (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _run(options: argparse.Namespace, folder: Path) -> Iterator[Result]:
    stack = manager.up(folder, brokers=1, kafka_port=0, redis_port=0)
    job = Job("bench.files", 0, str(stack.bootstrap_servers), str(stack.redis_url), folder, Path(sys.executable), ())
    say.print(f"writing {options.rows:,} rows in {len(options.formats)} formats")
    files = {kind: _write(folder / f"rows.{kind}", options.rows, options.entities) for kind in options.formats}
    with running_app(job) as (client, head):
        for number, file in enumerate(files.values()):  # the first files of an app start its workers
            client.upload_file(_write(folder / f"first-{number}{file.suffix}", FIRST_ROWS, 100), source="features")
        settle(lambda: family(head), START_SECONDS)
        for round_ in range(options.rounds):
            for file in files.values():
                yield _told(round_, _bare(file, options.rows, folder / f"bare-{round_}-{file.suffix[1:]}.duckdb"))
                with watching(lambda: family(head)) as usage:
                    found = _upload(client, file, options.rows, f"{file.suffix}-{round_}")
                yield _told(round_, found(usage))
        feast = feast_environment.ensure(folder.parent / "bench-feast-venv") if options.pushed else None
        for round_ in range(options.rounds if feast else 0):
            file = _write(folder / f"pushed-{round_}.parquet", options.pushed, options.entities)
            yield _told(round_, _pushed(Path(str(feast)), job, file, options.pushed))
            with watching(lambda: family(head)) as usage:
                found = _upload(client, file, options.pushed, file.name)
            yield _told(round_, replace(found(usage), format="push"))


def _pushed(python: Path, job: Job, file: Path, rows: int) -> Result:
    """Push one feature's rows with Feast."""
    folder = Path(tempfile.mkdtemp(prefix="feast-", dir=job.folder))
    table = pq.read_table(file, columns=["entity_id", "value", "validated_at", "created_at"])
    times = (table[name].cast(pa.timestamp("us", "UTC")) for name in ("validated_at", "created_at"))
    pq.write_table(
        pa.table([table["entity_id"], table["value"], *times], ["entity_id", "value", "event_timestamp", "created"]),
        folder / "rows.parquet",
    )
    with script(python, BENCH / "files_feast.py", folder, urlsplit(job.redis_url).netloc, folder / "rows.parquet") as process:
        seconds = float(line(process))
    return Result("push", "feast", rows, file.stat().st_size, seconds, seconds, {})


def _write(path: Path, rows: int, entities: int) -> Path:
    """Write the rows once, in the format of the suffix; equal arguments give equal rows."""
    random = np.random.default_rng(1)
    times = pa.array(FIRST_US + STEP_US * np.arange(rows), pa.timestamp("us"))
    users = pa.array([f"user_{n}" for n in range(entities)])
    names = pa.array([f"feature_{n}" for n in range(5)])
    table = pa.table(
        {
            "entity_id": users.take(pa.array(random.integers(entities, size=rows))),
            "feature_name": names.take(pa.array(random.integers(5, size=rows))),
            "value": random.normal(size=rows),
            "validated_at": times,
            "created_at": times,
        }
    )
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        options = "FORMAT csv, HEADER" if path.suffix == ".csv" else "FORMAT json"
        with duckdb.connect() as connection:
            connection.register("rows", table)
            connection.execute(f"COPY rows TO '{path}' ({options}, TIMESTAMPFORMAT '%Y-%m-%dT%H:%M:%S.%fZ')")
    return path


def _bare(file: Path, rows: int, database: Path) -> Result:
    """Insert the file with DuckDB alone."""
    types = json.dumps(COLUMNS).replace('"', "'")
    reader = {
        ".parquet": f"read_parquet('{file}')",
        ".csv": f"read_csv('{file}', columns = {types}, header = true, delim = ',')",
        ".jsonl": f"read_json('{file}', columns = {types}, format = 'newline_delimited')",
    }[file.suffix]
    connection = duckdb.connect(str(database))
    try:
        connection.execute(TABLE)
        started = time.monotonic()
        connection.execute(INSERT.format(reader=reader))
        seconds = time.monotonic() - started
        found = connection.execute("SELECT count(*) FROM features").fetchone()
    finally:
        connection.close()
        database.unlink()
    if found != (rows,):
        raise AssertionError(f"the bare statement stored {found} rows of {rows}")
    return Result(file.suffix[1:], "duckdb", rows, file.stat().st_size, seconds, seconds, {})


def _upload(client: RaytideClient, file: Path, rows: int, key: str) -> Callable[[Usage], Result]:
    """Send the file and wait until it is done; check how many rows came."""
    states: dict[str, float] = {}
    started = time.monotonic()

    def note(view: UploadProgressView) -> None:
        states.setdefault(str(view.upload.state), time.monotonic() - started)

    done = client.upload_file(file, source="features", idempotency_key=key, progress=note)
    seconds = time.monotonic() - started
    if (done.state, done.rows, done.rejected) != ("DONE", rows, 0):
        raise AssertionError(f"{file.name} ended as {done}")
    say.print({state: round(at, 2) for state, at in states.items()})
    committed = states.get("COMMITTED", seconds)
    return lambda usage: Result(file.suffix[1:], "raytide", rows, file.stat().st_size, seconds, committed, _megabytes(usage))


def _megabytes(usage: Usage) -> dict[str, int]:
    largest = sorted(usage.peak_rss.items(), key=lambda item: -item[1])[:6]
    return {name: round(rss / 1e6) for name, rss in largest}


def _told(round_: int, result: Result) -> Result:
    speed = f"{result.rows / result.seconds:12,.0f} rows/s"
    say.print(f"round {round_ + 1}  {result.format:8} {result.system:8} {result.seconds:6.2f} s {speed}", highlight=False)
    return result


def _print(results: list[Result]) -> None:
    table = Table(title=f"{os.cpu_count()} CPUs, {results[0].rows:,} rows", title_justify="left")
    for column in ("format", "MB", "DuckDB alone, s", "Raytide, s", "of it until durable, s", "ratio"):
        table.add_column(column, justify="left" if column == "format" else "right")
    pushed = [result for result in results if result.format == "push"]
    for kind in dict.fromkeys(result.format for result in results if result not in pushed):
        ours, bare = (_of(results, kind, system) for system in ("raytide", "duckdb"))
        seconds, committed, alone = _median(ours, "seconds"), _median(ours, "committed"), _median(bare, "seconds")
        figures = (
            f"{ours[0].bytes / 1e6:,.0f}",
            f"{alone:.2f}",
            f"{seconds:.2f}",
            f"{committed:.2f}",
            f"{alone / seconds:.2f}",
        )
        table.add_row(kind, *figures)
    console = Console(highlight=False)
    console.print(table)
    if pushed:
        feast, ours = (_median(_of(pushed, "push", system), "seconds") for system in ("feast", "raytide"))
        console.print(f"{pushed[0].rows:,} rows: Feast's push {feast:.2f} s, Raytide {ours:.2f} s, ratio {feast / ours:.2f}")
    for kind in dict.fromkeys(result.format for result in results):
        console.print(f"peak MB, {kind}: {_of(results, kind, 'raytide')[-1].peak_rss_mb}")


def _of(results: list[Result], kind: str, system: str) -> list[Result]:
    return [result for result in results if (result.format, result.system) == (kind, system)]


def _median(results: list[Result], figure: str) -> Any:
    return statistics.median(getattr(result, figure) for result in results)


if __name__ == "__main__":
    main()
