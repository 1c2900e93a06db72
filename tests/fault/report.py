"""Results as a table on the terminal and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.fault.cells import CELLS, Cell
from tests.fault.judge import COLUMNS
from tests.fault.matrix import RoundResult

BY_NAME = {cell.name: cell for cell in CELLS}


@dataclass(frozen=True)
class Summary:
    """What the rounds of a cell showed together. `verify` is asked once, after the last round."""

    name: str
    rounds: int
    green: int
    columns: dict[str, int]  # rounds in which a column held
    recovery_s: tuple[float, ...]
    events: int
    files: int
    seed: int
    first_problem: str = ""

    @property
    def proven(self) -> bool:
        """Return whether every column held in every round."""
        return self.rounds > 0 and self.green == self.rounds

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def summarise(results: Sequence[RoundResult]) -> list[Summary]:
    """Return one summary for each cell, in the order in which they were played."""
    return [_of(name, [r for r in results if r.cell == name]) for name in dict.fromkeys(r.cell for r in results)]


def show(summaries: Iterable[Summary], console: Console) -> None:
    """Print the matrix."""
    table = Table(title="fault matrix", title_justify="left", header_style="bold")
    for heading in ("cell", "rounds", *COLUMNS, "first commit after: median", "worst", "aim"):
        table.add_column(heading, justify="left" if heading == "cell" else "right", overflow="fold")
    for summary in summaries:
        held = [f"{summary.columns[column]}/{summary.rounds}" for column in COLUMNS]
        table.add_row(summary.name, str(summary.rounds), *held, *times(summary, BY_NAME[summary.name]))
    console.print(table)


def times(summary: Summary, cell: Cell) -> tuple[str, str, str]:
    """Return median, worst and aim as text."""
    aim = "" if cell.aim_s is None else f"{cell.aim_s:.0f} s"
    if not summary.recovery_s:
        return "", "", aim
    return f"{median(summary.recovery_s):.1f} s", f"{max(summary.recovery_s):.1f} s", aim


def _of(name: str, rounds: Sequence[RoundResult]) -> Summary:
    finished = [r for r in rounds if not r.error]
    first = next((text for r in rounds for text in [r.error, *(t for ts in r.problems.values() for t in ts)] if text), "")
    return Summary(
        name=name,
        rounds=len(rounds),
        green=sum(r.ok for r in rounds),
        columns={column: sum(not r.problems.get(column) for r in finished) for column in COLUMNS},
        recovery_s=tuple(round(r.recovery_s, 2) for r in rounds if r.recovery_s is not None),
        events=sum(r.events for r in rounds),
        files=sum(r.files for r in rounds),
        seed=rounds[0].seed,
        first_problem=first,
    )
