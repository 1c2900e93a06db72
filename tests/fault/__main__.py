"""`python -m tests.fault [CELL...]`: plays the matrix, prints it, and publishes what was proven."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.fault import proofs
from tests.fault.cells import CELLS, chosen
from tests.fault.matrix import RoundResult, play_all, play_mutant
from tests.fault.mutants import MUTANTS, Mutant
from tests.fault.report import show, summarise

MUTANTS_AT_ONCE = 3
WIDTH = 170  # of the table where there is no terminal

app = typer.Typer(add_completion=False)
console = Console() if sys.stdout.isatty() else Console(width=WIDTH)


@app.command()
def main(
    cells: Annotated[
        list[str] | None, typer.Argument(help="Cells, as names or patterns such as 'kill:*'; all if left out.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each cell; left out, 20, or 5 of the slow ones.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first round; the next has the next.")] = 1,
    results: Annotated[Path, typer.Option(help="Where every round is written as JSON.")] = Path(".raytide/fault.json"),
    *,
    mutants: Annotated[bool, typer.Option(help="Also show that broken invariants turn cells red.")] = True,
    publish: Annotated[bool, typer.Option("--publish", help="Write docs/proofs.json and docs/proofs.md.")] = False,
    names: Annotated[bool, typer.Option("--list", help="List the cells, and do nothing.")] = False,
) -> None:
    """Kill, freeze and starve everything that can be, and compare what is stored with what was acknowledged.

    Exit codes: 0 every round was right, 1 not, 2 wrong use.
    """
    if names:
        for cell in CELLS:
            typer.echo(f"{cell.name:32} {cell.rounds:3} rounds  {cell.what}")
        return
    wanted = chosen(cells or [])
    if not wanted:
        typer.echo(f"no cell is called {', '.join(cells or [])}: see --list", err=True)
        raise typer.Exit(2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what runs is stopped before this ends
    played: list[RoundResult] = []
    for result in play_all(wanted, lambda cell: rounds or cell.rounds, seed, say):
        played.append(result)
        _write(results, played)
        if publish and result.is_last:
            proofs.publish(summarise([r for r in played if r.cell == result.cell]), {})
    summaries = summarise(played)
    show(summaries, console)
    seen = _seen([m for m in MUTANTS if mutants and any(c.name == m.cell for c in wanted)], seed)
    if publish:
        proofs.publish([], seen)
    if not all(s.proven for s in summaries) or not all(seen.values()):
        raise typer.Exit(1)


def _seen(mutants: Sequence[Mutant], seed: int) -> dict[str, str]:
    """Return what was seen of each mutant; most of their time goes into starting and stopping, and none of it is measured."""
    with ThreadPoolExecutor(MUTANTS_AT_ONCE) as pool:
        return dict(zip((m.name for m in mutants), pool.map(lambda m: play_mutant(m, seed, say), mutants), strict=True))


def say(text: str) -> None:
    """Print a line at once, as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _write(file: Path, played: Sequence[RoundResult]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([result.as_json() for result in played], indent=1), encoding="utf-8")


if __name__ == "__main__":
    app()
