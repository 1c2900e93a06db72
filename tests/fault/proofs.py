"""`docs/proofs.json` is what was shown last of each cell, and `docs/proofs.md` the page that is made of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.fault.cells import CELLS
from tests.fault.judge import COLUMNS
from tests.fault.mutants import MUTANTS
from tests.fault.report import BY_NAME, Summary, times
from tests.fault.world import ROOT

DATA, PAGE = ROOT / "docs" / "proofs.json", ROOT / "docs" / "proofs.md"

#: What the matrix leaves out on purpose.
EXEMPT = (
    (
        "a writer that wakes after its successor started",
        "there is no such moment: the file's lock lets a successor in only once the old process is gone (see `frozen:writer`)",
    ),
    (
        "a clock that steps back while a process starts",
        "to a process that starts with it, events of now lie in the future: they are quarantined, and can be replayed",
    ),
    (
        "a disk that loses what it said it had written",
        "nothing above it can know; restore a backup, or a new file from Kafka",
    ),
)

_HEAD = """\
# Proofs: what was killed, and what held

Made by `make fault` (`python -m tests.fault --publish`); not written by hand. Each round is real traffic on real parts (a
stream of 2,000 events a second with bad, late, doubled and disordered ones, and files of 3,000 rows one after another), a
fault at a moment that the seed decides, recovery, the end of traffic, and then a comparison of everything that was
acknowledged with everything that is stored, by code that shares nothing with the path (`tests/fault/judge.py`). A number is
the rounds in which a column held; all of them must. Kills with an aim have the machine for themselves; of all other cells
two are played at a time, in a world each, so that their seconds say less. The first fault of a world comes once it has taken
a file and its idle workers have imported everything. Commits wait 100 ms for company, not 20 as by default. This is how
cells are played now; one with an earlier date may have been played otherwise.
`python -m tests.fault CELL --seed S --rounds 1` plays one round again.

"""


def load() -> dict[str, Any]:
    """Return what was published."""
    if not DATA.exists():
        return {"cells": {}, "mutants": {}}
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def publish(summaries: Iterable[Summary], mutants: Mapping[str, str]) -> None:
    """Replace what is known of the cells and mutants that were played, and write data and page."""
    known, today = load(), datetime.now(UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    for summary in summaries:
        known["cells"][summary.name] = {**summary.as_json(), "date": today, "machine": machine}
    for name, seen in mutants.items():
        known["mutants"][name] = {"seen": seen, "date": today}
    DATA.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(known), encoding="utf-8")


def page(known: Mapping[str, Any]) -> str:
    """Return the page that the data makes."""
    played = {name: _summary(found) for name, found in known["cells"].items() if name in BY_NAME}
    parts = [_HEAD, *_matrix(played, known["cells"]), *_missing(played), *_exempt(), *_mutants(known["mutants"])]
    return "".join(parts)


def _matrix(played: Mapping[str, Summary], data: Mapping[str, Any]) -> Iterable[str]:
    yield "Columns:\n\n" + "".join(f"- **{name}**: {meaning}\n" for name, meaning in COLUMNS.items()) + "\n"
    yield "## Proven\n\n"
    yield (
        "`median` and `worst`: from the kill, or the end of an outage, to the first commit (of the gateway: its answer;\n"
        "of `ray:*` and `app:upgraded`: the longest time without a commit).\n\n"
    )
    yield _row(["cell", "what", "rounds", *COLUMNS, "median", "worst", "aim", "date"])
    yield _row(["---", "---", *["---:"] * (len(COLUMNS) + 4), "---"])
    for cell in CELLS:
        if (summary := played.get(cell.name)) and summary.proven:
            held = [str(summary.columns.get(column, "-")) for column in COLUMNS]  # one that came after these rounds
            where = [f"`{cell.name}`", cell.what, str(summary.rounds), *held]
            yield _row([*where, *times(summary, cell), data[cell.name]["date"]])
    total = [s for s in played.values() if s.proven]
    rounds, events, files = (sum(getattr(s, name) for s in total) for name in ("rounds", "events", "files"))
    machines = sorted({data[s.name]["machine"] for s in total})
    counts = f"{rounds:,} rounds, {events:,} events, {files:,} files"
    yield f"\n{len(total)} of {len(CELLS)} cells: {counts}. {'; '.join(machines)}.\n"


def _missing(played: Mapping[str, Summary]) -> Iterable[str]:
    yield "\n## Missing\n\n"
    missing = [cell for cell in CELLS if not (cell.name in played and played[cell.name].proven)]
    if not missing:
        yield "Nothing.\n"
    for cell in missing:
        summary = played.get(cell.name)
        why = f"{summary.green} of {summary.rounds} rounds were right; {summary.first_problem}" if summary else "not played yet"
        yield f"- `{cell.name}` ({cell.what}): {why}\n"
    slow = [c for c in CELLS if (s := played.get(c.name)) and s.proven and c.aim_s and max(s.recovery_s, default=0) > c.aim_s]
    if slow:
        yield "\nRight, but slower than the aim in the worst round: " + ", ".join(f"`{cell.name}`" for cell in slow) + ".\n"


def _exempt() -> Iterable[str]:
    yield "\n## Exempt\n\n" + "".join(f"- **{what}**: {why}.\n" for what, why in EXEMPT)


def _mutants(seen: Mapping[str, Any]) -> Iterable[str]:
    yield "\n## The tests of the tests\n\nRaytide with an invariant broken on purpose must turn its cell red.\n\n"
    yield _row(["mutant", "broken", "cell", "seen as", "date"]) + _row(["---"] * 5)
    for mutant in MUTANTS:
        found = seen.get(mutant.name, {"seen": "not played yet", "date": ""})
        yield _row([f"`{mutant.name}`", mutant.what, f"`{mutant.cell}`", found["seen"], found["date"]])


def _summary(found: Mapping[str, Any]) -> Summary:
    fields = {name: value for name, value in found.items() if name not in {"date", "machine"}}
    return Summary(**{**fields, "recovery_s": tuple(found["recovery_s"])})


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
