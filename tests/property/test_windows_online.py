"""Windows online against nested loops: late, doubled, replaced, from the future, from several sources, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.stores import duckdb_windows
from tests.windows_world import EVERY, STEPS, History, Life, World, check


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    history = History(tmp_path_factory.mktemp("windows"))
    yield history
    history.close()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**9), st.lists(st.sampled_from(STEPS), min_size=3, max_size=25), st.sampled_from([6, 40, 500_000]))
def test_windows_online_are_what_nested_loops_find(history: History, seed: int, steps: list[str], most_rows: int) -> None:
    history.empty()
    # Rows of a step: few, so that there are many steps, and commits that are too much for one.
    with mock.patch.object(duckdb_windows, "MOST_ROWS", most_rows):
        live(World(history, Random(seed).sample(EVERY, 6)), Random(seed), steps)


def live(world: World, random: Random, steps: list[str]) -> None:
    life = Life(world, random)
    for step in [*steps, "settle"]:
        getattr(life, step)()
        if step == "settle":
            check(world)
