"""What becomes of the other cells when a world ends in the middle of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.fault import matrix
from tests.fault.cells import CELLS, Cell
from tests.fault.matrix import RoundResult, play_all


def test_a_world_that_ends_costs_the_cells_that_it_had_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stage(kind: str) -> Iterator[str]:
        yield kind

    def play(_ready: Any, cell: Cell, rounds: int, seed: int, _say: Any) -> Iterator[RoundResult]:
        if cell.name == "second":
            raise OSError("the world is gone")
        for number in range(rounds):
            yield RoundResult(cell.name, seed + number, is_last=number == rounds - 1)

    monkeypatch.setattr(matrix, "stage", stage)
    monkeypatch.setattr(matrix, "play", play)
    named = [("first", "a"), ("second", "a"), ("third", "a"), ("x", "b")]
    cells = [replace(CELLS[0], name=name, world=world) for name, world in named]
    said: list[str] = []
    results = list(play_all(cells, lambda _: 2, 1, said.append))
    assert [(r.cell, r.ok, r.is_last) for r in results] == [
        ("first", True, False),
        ("first", True, True),
        ("second", False, True),
        ("third", False, True),
        ("x", True, False),
        ("x", True, True),
    ]
    assert "OSError: the world is gone" in results[2].error
    assert len(said) == 1
