"""Point-in-time joins: Raytide beside Feast and beside a query by hand on the same table. `python -m bench.historical`.

All values are compared first. Then how the join grows with history, and what historical reads cost the commits of a stream.
Each measurement is a process of its own; of several tries the median counts.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from bench import feast_environment
from bench.historical_data import FEATURES, write_events, write_rows

BENCH = Path(__file__).parent
STORES = ("duckdb", "file")
READERS = (0, 1, 4, 0)

say = Console(stderr=True)


@dataclass(frozen=True)
class Join:
    """One way to join so many entity rows on so many rows of history."""

    way: str
    history: int
    asked: int
    seconds: float
    cpu: float
    peak_mb: int


@dataclass(frozen=True)
class Beside:
    """Commits while so many read."""

    readers: int
    rows_per_s: float
    reads: int


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    state = Path.cwd() / ".raytide"
    state.mkdir(exist_ok=True)
    feast = None if options.without_feast else feast_environment.ensure(state / "bench-feast-venv")
    folder = Path(tempfile.mkdtemp(prefix="historical-", dir=state))
    try:
        rows = folder / "rows.parquet"
        write_rows(rows, options.rows)
        joins = list(_joins(options, folder, rows, feast))
        beside = list(_beside(options, folder, rows))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        found = {"joins": [asdict(join) for join in joins], "beside": [asdict(one) for one in beside]}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _print(joins, beside)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.historical", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="entity rows (default %(default)s)")
    sizes = [1_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000]
    parser.add_argument("--history", type=int, nargs="+", default=sizes, help="rows of history (default %(default)s)")
    parser.add_argument(
        "--beside-feast", type=int, default=10_000_000, help="rows with which Feast joins (default %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of commits beside reads (default %(default)s)")
    parser.add_argument("--without-feast", action="store_true", help="measure Raytide alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _joins(options: argparse.Namespace, folder: Path, rows: Path, feast: Path | None) -> Iterator[Join]:
    for history in options.history:
        events, database = folder / f"events-{history}.parquet", folder / f"{history}.duckdb"
        write_events(events, history // len(FEATURES))
        _ours("store", database, events)
        answers = [folder / f"{name}.parquet" for name in ("raytide", "by-hand")]
        for command, answer in zip(("join", "by-hand"), answers, strict=True):
            way = "raytide" if command == "join" else "by hand, same table"
            yield _join(way, history, options.rows, _ours(command, database, rows, answer))
        _compare(*answers)
        if feast is not None and history == options.beside_feast:
            yield from _feasts(options, folder, (events, rows), feast)
        if history != options.beside_feast:
            database.unlink()
        events.unlink()


def _feasts(options: argparse.Namespace, folder: Path, files: tuple[Path, Path], feast: Path) -> Iterator[Join]:
    for store in STORES:
        answer = folder / f"feast-{store}.parquet"
        took = _run(feast, BENCH / "historical_feast.py", folder / store, store, *files, answer)
        _compare(folder / "raytide.parquet", answer)
        yield _join(f"feast 0.67.0, {store}", options.beside_feast, options.rows, took)


def _beside(options: argparse.Namespace, folder: Path, rows: Path) -> Iterator[Beside]:
    database = folder / f"{options.beside_feast}.duckdb"
    for readers in READERS if database.exists() else ():
        found = _ours_beside(database, rows, readers, options.seconds)
        yield Beside(readers, found["rows_per_s"], found["reads"])


def _ours(command: str, *files: Path) -> dict[str, Any]:
    return _run(Path(sys.executable), "-m", "bench.historical_raytide", command, *files)


def _ours_beside(database: Path, rows: Path, readers: int, seconds: float) -> dict[str, Any]:
    return _run(Path(sys.executable), "-m", "bench.historical_beside", database, rows, readers, seconds)


def _run(python: Path, *arguments: object) -> dict[str, Any]:
    command = [str(python), *map(str, arguments)]
    say.print(" ".join(part.rpartition("/")[2] for part in command[1:]))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own command
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say.print(str(found))
    return found


def _join(way: str, history: int, asked: int, found: dict[str, Any]) -> Join:
    seconds, cpu = round(median(found["seconds"]), 3), round(median(found["cpu"]), 3)
    return Join(way, history, asked, seconds, cpu, found["peak_mb"])


def _compare(first: Path, second: Path) -> None:
    """Raise RuntimeError when two answers differ in a value."""
    ours, other = (parquet.read_table(path, columns=["n", *FEATURES]).sort_by("n") for path in (first, second))
    for name in FEATURES:
        if not np.array_equal(ours[name].to_numpy(), other[name].to_numpy(), equal_nan=True):
            raise RuntimeError(f"{second.name} and {first.name} differ in {name}: nothing is measured")
    say.print(f"{len(ours) * len(FEATURES):,} values of {first.stem} and {second.stem} compared, 0 differ")


def _print(joins: list[Join], beside: list[Beside]) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    today = datetime.now(UTC).date().isoformat()
    title = f"{today}, {machine}: {joins[0].asked:,} entity rows x {len(FEATURES)} features"
    table = Table(title=title, title_justify="left")
    for column in ("rows of history", "way", "seconds", "CPU s", "peak MB"):
        table.add_column(column, justify="left" if column == "way" else "right", no_wrap=True)
    for join in joins:
        table.add_row(f"{join.history:,}", join.way, f"{join.seconds:.2f}", f"{join.cpu:.2f}", f"{join.peak_mb:,}")
    console = Console(highlight=False)
    console.print(table)
    if beside:
        table = Table(title="commits of a stream beside historical reads of 100,000 entity rows", title_justify="left")
        for column in ("readers", "rows/s", "reads answered", "of rows/s alone"):
            table.add_column(column, justify="right", no_wrap=True)
        alone = max(one.rows_per_s for one in beside if one.readers == 0)
        for one in beside:
            table.add_row(str(one.readers), f"{one.rows_per_s:,.0f}", str(one.reads), f"{one.rows_per_s / alone:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
