"""What the graph of feature functions costs beside calling them by hand, in one run. `python -m bench.graph`.

A view has 30 features, three chains ten deep. Each batch goes through Raytide, which also makes its rows, and through
straight code that makes the same columns and calls the same functions on them; in turn, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cluster.ingest.transform import Transform, compile_transform
from cluster.records import Events
from cluster.registry.catalog import build
from cluster.registry.definitions import Entity, FeatureFunction, FeatureView, Field, StreamSource, Wide, feature

CHAINS, DEPTH = ("a", "b", "c"), 10
SOURCE = StreamSource("events", "events", Wide("user_id", "at", tuple(Field(name) for name in CHAINS)))


def nothing(x: Any) -> Any:
    """Return the input: what is left is overhead."""
    return x


def arithmetic(x: Any) -> Any:
    """Do a little, as most features do."""
    return x * 0.5 + 1


KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "pandas, does nothing": ("pandas", nothing),
    "pandas, arithmetic": ("pandas", arithmetic),
    "numpy, does nothing": ("numpy", nothing),
    "numpy, arithmetic": ("numpy", arithmetic),
    "row, arithmetic": ("row", arithmetic),
}


READS: dict[str, Callable[[pa.Array], Any]] = {
    "pandas": lambda column: column.to_pandas(),
    "numpy": lambda column: column.to_numpy(),
    "row": lambda column: column.to_pylist(),
}


@dataclass(frozen=True)
class Result:
    """Microseconds for a row and a function."""

    functions: str
    rows: int
    straight_us: float
    raytide_us: float
    overhead_us: float


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    events = _events(options.rows)
    results = [_measure(kind, events, options.batch) for kind in KINDS]
    if options.json:
        sys.stdout.write(json.dumps([asdict(result) for result in results], indent=2) + "\n")
    else:
        _print(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.graph", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for each kind of function (default %(default)s)")
    parser.add_argument("--batch", type=int, default=5_000, help="rows in a batch (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _events(rows: int) -> Events:
    numbers = np.random.default_rng(1)
    times = pa.array(np.arange(rows), pa.timestamp("us"))
    return Events(
        entity_id=pa.array([f"user_{n}" for n in numbers.integers(100_000, size=rows)]),
        event_timestamp=times,
        created_at=times,
        position=pa.array(np.arange(rows)),
        columns={name: pa.array(numbers.random(rows)) for name in CHAINS},
    )


def _batches(events: Events, size: int) -> Iterator[Events]:
    for first in range(0, len(events), size):
        yield Events(
            entity_id=events.entity_id.slice(first, size),
            event_timestamp=events.event_timestamp.slice(first, size),
            created_at=events.created_at.slice(first, size),
            position=events.position.slice(first, size),
            columns={name: column.slice(first, size) for name, column in events.columns.items()},
        )


def _measure(kind: str, events: Events, size: int) -> Result:
    mode, function = KINDS[kind]
    functions = _functions(mode, function)
    transform = _compiled(functions)
    raytide = straight = 0.0
    for number, batch in enumerate(_batches(events, size)):
        for system in ("raytide", "straight") if number % 2 else ("straight", "raytide"):
            started = time.perf_counter()
            if system == "raytide":
                transform(batch)
                raytide += time.perf_counter() - started
            else:
                _by_hand(mode, functions, batch)
                straight += time.perf_counter() - started
    each = 1e6 / (len(events) * len(functions))
    return Result(kind, len(events), round(straight * each, 4), round(raytide * each, 4), round((raytide - straight) * each, 4))


def _functions(mode: str, function: Callable[[Any], Any]) -> list[FeatureFunction]:
    """Return them in an order in which inputs come first, for the code by hand."""
    made = []
    for depth in range(1, DEPTH + 1):
        for chain in CHAINS:
            given = chain if depth == 1 else f"{chain}{depth - 1}"
            named = eval(f"lambda {given}: function({given})", {"function": function})  # noqa: S307 - a lambda with this parameter
            made.append(feature(mode, name=f"{chain}{depth}")(named))
    return made


def _compiled(functions: Sequence[FeatureFunction]) -> Transform:
    view = FeatureView("view", Entity("user", "user_id"), SOURCE, functions)
    return compile_transform(build("bench", [view]), SOURCE.name)


def _by_hand(mode: str, functions: Sequence[FeatureFunction], batch: Events) -> dict[str, Any]:
    read: Callable[[pa.Array], Any] = {"pandas": pa.Array.to_pandas, "numpy": pa.Array.to_numpy, "row": pa.Array.to_pylist}[
        mode
    ]
    found = {name: read(column) for name, column in batch.columns.items()}
    for f in functions:
        given, call = found[f.inputs[0]], f.function
        found[f.name] = [call(x) for x in given] if mode == "row" else call(given)
    return found


def _print(results: Sequence[Result]) -> None:
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    title = f"{datetime.now(UTC).date().isoformat()}, {machine}: {results[0].rows:,} rows, µs for a row and a function"
    table = Table(title=title, title_justify="left")
    for column in ("30 functions, ten deep", "by hand", "raytide", "overhead"):
        table.add_column(column, justify="left" if column.startswith("30") else "right", no_wrap=True)
    for r in results:
        table.add_row(r.functions, f"{r.straight_us:.4f}", f"{r.raytide_us:.4f}", f"{r.overhead_us:.4f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
