"""The delivery page names every crash point and only cells that exist; the page of proofs is made of its data."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cluster.faults import Point
from tests.fault import proofs
from tests.fault.cells import CELLS
from tests.fault.mutants import MUTANTS, Mutant

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
NAMES = {cell.name for cell in CELLS}
KINDS = {name.partition(":")[0] for name in NAMES}


@pytest.mark.parametrize("point", list(Point))
def test_every_point_has_a_cell_and_a_step(point: Point) -> None:
    assert f"at:{point}" in NAMES
    assert f"`at:{point}`" in PAGE


def test_every_cell_that_is_named_exists() -> None:
    named = {word for word in re.findall(r"`([a-z]+:[a-z_.*-]+)`", PAGE) if word.partition(":")[0] in KINDS}
    assert named
    assert not [word for word in named if not any(fnmatch(name, word) for name in NAMES)]


def test_the_page_is_made_of_the_data() -> None:
    assert proofs.PAGE.read_text(encoding="utf-8") == proofs.page(proofs.load())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_breaks_is_still_in_the_code(tmp_path: Path, mutant: Mutant) -> None:
    broken = mutant.write(tmp_path)
    assert all(edit.new in (broken / edit.file).read_text(encoding="utf-8") for edit in mutant.edits)
