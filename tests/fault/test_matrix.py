"""The short version of the matrix: a round of one cell of each kind. A broken invariant, which must be seen, is a long one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault.cells import Cell, chosen
from tests.fault.matrix import Stage, play_mutant, play_round, stage, warm_up
from tests.fault.mutants import MUTANTS, Mutant

pytestmark = [pytest.mark.stack, pytest.mark.fault, pytest.mark.timeout(300)]

#: One of each kind; the others, and more rounds, are for `make fault`.
SHORT = chosen(
    [
        "kill:partition",
        "kill:writer",
        "kill:supervisor",
        "kill:upload-task",
        "at:stream.online",
        "at:writer.in_transaction",
        "at:writer.committed",
        "at:upload.spooled",
        "at:writer.file_committed",
        "at:upload.publishing",
        "at:windows.put",
        "poison:burst",
        "redis:killed",
    ],
)
SEED = 1


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    with stage("one") as ready:
        warm_up(ready)
        yield ready


@pytest.mark.parametrize("cell", SHORT, ids=lambda cell: cell.name)
def test_it_costs_nothing(running: Stage, cell: Cell) -> None:
    result = play_round(running, cell, SEED)
    assert result.ok, result


def test_verify_agrees_after_all_of_it(running: Stage) -> None:
    assert running.judge.verify() == []


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS[1:2], ids=lambda mutant: mutant.name)
def test_a_broken_invariant_is_seen(mutant: Mutant) -> None:
    assert play_mutant(mutant, SEED, print)
