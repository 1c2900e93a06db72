"""Windows in a historical read beside statements that one would write by hand, in one run. `python -m bench.windows`.

Count and sum of seven days with an hourly lower edge, for each question. All read the same table of the same database with the
same threads and give the same numbers, which is checked; in turn, and the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from statistics import median
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cluster.config import OfflineStoreConfig
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads

ENTITIES, DAYS = 10_000, 60
START_US = 1_767_225_600_000_000  # 2026
DAY_US = 86_400_000_000

_EVENTS = """
    WITH asked AS (
        SELECT n, entity_id, epoch_us(event_timestamp) AS t, t - t % 3600000000 - 604800000000 AS edge FROM questions
    ),
    events AS (SELECT entity_id, epoch_us(event_timestamp) AS t, value FROM features WHERE feature_name = 'amount')"""
PLAIN = {
    "window functions": """, line AS (
        SELECT entity_id, t, value, NULL AS n FROM events UNION ALL SELECT entity_id, t, NULL, n FROM asked
    )
    SELECT n, count, sum FROM (
        SELECT n, count(value) OVER back AS count, sum(value) OVER back AS sum FROM line WINDOW back AS (
            PARTITION BY entity_id ORDER BY t RANGE BETWEEN (t % 3600000000 + 604800000000 - 1) PRECEDING AND CURRENT ROW)
    ) WHERE n IS NOT NULL""",
    "running totals": """, totals AS (
        SELECT entity_id, t, count(*) OVER upwards AS count, sum(value) OVER upwards AS sum FROM events
        WINDOW upwards AS (PARTITION BY entity_id ORDER BY t)
    )
    SELECT n, coalesce(upper.count, 0) - coalesce(lower.count, 0) AS count,
        coalesce(upper.sum, 0) - coalesce(lower.sum, 0) AS sum
    FROM asked ASOF LEFT JOIN totals AS upper ON asked.entity_id = upper.entity_id AND asked.t >= upper.t
        ASOF LEFT JOIN totals AS lower ON asked.entity_id = lower.entity_id AND asked.edge >= lower.t""",
    "range join": """
    SELECT n, count(value) AS count, sum(value) AS sum FROM asked
    LEFT JOIN events ON asked.entity_id = events.entity_id AND events.t > edge AND events.t <= asked.t GROUP BY n""",
}
ASKED = [Aggregation("amount", function, timedelta(days=7), timedelta(hours=1)) for function in ("count", "sum")]


class Run(NamedTuple):
    """What one read took."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    """Run what the command line asks for and print it."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        config = OfflineStoreConfig(path=f"{folder}/f.duckdb", threads=options.threads)
        database = DuckDatabase(config)
        _fill(database, options.events)
        reads, rows = DuckReads(database, config), _questions(options.questions)
        found = _measure(_systems(reads, rows), options.rounds)
        database.close()
    if options.json:
        sys.stdout.write(json.dumps({name: [run._asdict() for run in runs] for name, runs in found.items()}, indent=2) + "\n")
    else:
        _print(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.windows", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events in history (default %(default)s)")
    parser.add_argument("--questions", type=int, default=1_000_000, help="rows that ask (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="DuckDB's threads (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _fill(database: DuckDatabase, events: int) -> None:
    """Store events in the order of their times, as streams do."""
    with database.cursor() as cursor:
        cursor.execute("SELECT setseed(0.5)")
        cursor.execute(
            f"""INSERT INTO features
            SELECT 'user_' || floor(random() * {ENTITIES})::INTEGER, 'amount', floor(random() * 1000),
                make_timestamp({START_US} + n * {DAYS * DAY_US} // {events}), make_timestamp({START_US} + n), 1, n
            FROM range({events}) AS r(n)""",  # noqa: S608 - our own numbers
        )


def _questions(count: int) -> pa.Table:
    numbers = np.random.default_rng(1)
    times = START_US + numbers.integers(DAYS * DAY_US, size=count)
    ids = pa.array([f"user_{n}" for n in numbers.integers(ENTITIES, size=count)])
    return pa.table({"entity_id": ids, "event_timestamp": pa.array(times, pa.timestamp("us"))})


def _systems(reads: DuckReads, rows: pa.Table) -> Mapping[str, Callable[[], pa.Table]]:
    """Return what is compared; each gives columns `count` and `sum` in the order of the questions."""
    specs = [
        FeatureSpec(a.name, "v", "user", "entity_id", "s", online=False, ttl_us=None, field=None, aggregation=a) for a in ASKED
    ]
    numbered = rows.append_column("n", pa.array(np.arange(len(rows))))

    def raytide() -> pa.Table:
        return point_in_time(reads, rows, specs).select([a.name for a in ASKED])

    def plain(statement: str) -> Callable[[], pa.Table]:
        def run() -> pa.Table:
            with reads.snapshot({"questions": numbered}) as snapshot:
                return snapshot.query(_EVENTS + statement)

        return run

    return {"Raytide": raytide, **{name: plain(statement) for name, statement in PLAIN.items()}}


def _measure(systems: Mapping[str, Callable[[], pa.Table]], rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in systems}
    for _ in range(rounds):
        answers = {}
        for name, run in systems.items():
            started, cpu = time.perf_counter(), time.process_time()
            answers[name] = run()
            runs[name].append(Run(round(time.perf_counter() - started, 3), round(time.process_time() - cpu, 3)))
        _check(answers)
    return runs


def _check(answers: Mapping[str, pa.Table]) -> None:
    """Raise AssertionError unless all gave the same numbers; values are whole, so sums are equal."""
    wanted = [column.fill_null(0).to_numpy() for column in answers["Raytide"].columns]
    for name, answer in answers.items():
        ordered = answer.sort_by("n") if "n" in answer.column_names else answer
        found = [ordered[column].fill_null(0).to_numpy() for column in ordered.column_names if column != "n"]
        if not all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True)):
            raise AssertionError(f"{name} gave other numbers than Raytide")


def _print(found: Mapping[str, list[Run]]) -> None:
    table = Table(title="count and sum of seven days")
    for heading in ("how", "seconds (median; runs)", "CPU seconds (median)"):
        table.add_column(heading)
    for name, runs in found.items():
        seconds = [run.seconds for run in runs]
        shown = f"{median(seconds):.2f} ({' · '.join(f'{one:.2f}' for one in seconds)})"
        table.add_row(name, shown, f"{median(run.cpu_seconds for run in runs):.2f}")
    console = Console()
    console.print(table)
    for what in ("seconds", "cpu_seconds"):
        medians = {name: median(getattr(run, what) for run in runs) for name, runs in found.items()}
        best = min(medians[name] for name in PLAIN)
        console.print(f"Raytide against the best of the others, {what.replace('_', ' ')}: {medians['Raytide'] / best:.2f}")


if __name__ == "__main__":
    main()
