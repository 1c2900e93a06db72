"""What becomes of the other cells when a world ends in the middle of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.fault import matrix
from tests.fault.cells import CELLS, Cell
from tests.fault.matrix import Left, RoundResult, play_all


def test_a_world_that_ends_costs_the_cell_that_it_played(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stage(kind: str) -> Iterator[str]:
        yield kind

    def play(_ready: Any, cell: Cell, rounds: int, seed: int, _say: Any) -> Iterator[RoundResult]:
        if cell.name == "second":
            raise OSError("the world is gone")
        for number in range(rounds):
            yield RoundResult(cell.name, seed + number, is_last=number == rounds - 1)

    monkeypatch.setattr(matrix, "stage", stage)
    monkeypatch.setattr(matrix, "warm_up", lambda _: None)
    monkeypatch.setattr(matrix, "play", play)
    named = [("first", "a"), ("second", "a"), ("third", "a"), ("x", "b")]
    cells = [replace(CELLS[0], name=name, world=world) for name, world in named]
    said: list[str] = []
    results = list(play_all(cells, lambda _: 2, 1, said.append))
    assert [(r.cell, r.ok, r.is_last) for r in results] == [
        ("x", True, False),
        ("x", True, True),
        ("first", True, False),
        ("first", True, True),
        ("second", False, True),
        ("third", True, False),
        ("third", True, True),
    ]
    assert "OSError: the world is gone" in results[4].error
    assert len(said) == 1


def test_every_cell_is_played_once_however_many_take_from_what_is_left() -> None:
    cells = [replace(CELLS[0], name=str(number), world="ab"[number % 2]) for number in range(20)]
    left = Left(cells)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(left.take, ["a", None] * 20))
    assert sorted(cell.name for cell in taken if cell) == sorted(cell.name for cell in cells)
    assert left.take() is None
