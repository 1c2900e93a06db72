"""Partial results: what is written down comes back, and any division into cells adds up to the same values."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.registry.aggregation import Function
from cluster.windows.partials import Layout, Partials
from cluster.windows.window import MAX_DISTINCT

ALL = tuple(Function)
values = st.floats(-1e9, 1e9, allow_nan=False)
events = st.lists(st.tuples(values, st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=20)
layouts = st.sets(st.sampled_from(ALL), min_size=1).map(lambda chosen: Layout.of([f for f in ALL if f in chosen]))


def cells(layout: Layout, found: list[tuple[float, int, int]], first_position: int = 0) -> Partials:
    """Return a cell for each event, a triple of value, moment and created."""
    columns: dict[str, list[float]] = {"n": [1] * len(found)}
    numbers = [value for value, _, _ in found]
    columns |= dict.fromkeys(("sum", "mean", "min", "max"), numbers) | {"m2": [0.0] * len(found)}
    for edge in ("first", "last"):
        columns[f"{edge}_moment"] = [moment for _, moment, _ in found]
        columns[f"{edge}_created"] = [created for _, _, created in found]
        columns[f"{edge}_position"] = [first_position + n for n in range(len(found))]
        columns[f"{edge}_source"] = [1] * len(found)
        columns[f"{edge}_value"] = numbers
    ints = {"n", *(f"{edge}_{part}" for edge in ("first", "last") for part in ("moment", "created", "position", "source"))}
    arrays = {name: pa.array(column, pa.int64() if name in ints else pa.float64()) for name, column in columns.items()}
    return Partials.from_table(layout, pa.table({**arrays, "seen": pa.array([[n] for n in numbers], pa.list_(pa.float64()))}))


def one(partials: Partials) -> Partials:
    return partials.combined(np.zeros(len(partials), np.int64), 1)


@given(layouts, events)
def test_what_is_written_down_comes_back(layout: Layout, found: list[tuple[float, int, int]]) -> None:
    whole = one(cells(layout, found))
    back = Partials.unpack(layout, whole.pack())
    assert back.numbers.tobytes() == whole.numbers.tobytes()
    assert [tail.tolist() for tail in back.tails] == [tail.tolist() for tail in whole.tails]


@given(events, st.data())
def test_any_division_adds_up_to_the_same(found: list[tuple[float, int, int]], data: st.DataObject) -> None:
    layout = Layout.of(ALL)
    group = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found))), np.int64)
    divided, whole = one(cells(layout, found).combined(group, 4)), one(cells(layout, found))
    for function in ALL:
        a, b = divided.values(function)[0], whole.values(function)[0]
        assert a == pytest.approx(b, rel=1e-9, abs=1e-3, nan_ok=True), function
        if function not in {Function.SUM, Function.MEAN, Function.STD}:
            assert a == b or (math.isnan(a) and math.isnan(b)), function


@given(events)
def test_values_are_those_of_the_events(found: list[tuple[float, int, int]]) -> None:
    whole = one(cells(Layout.of(ALL), found))
    numbers = [value for value, _, _ in found]
    order = sorted(range(len(found)), key=lambda n: (found[n][1], found[n][2], n))
    expected = {
        Function.COUNT: len(numbers),
        Function.SUM: math.fsum(numbers),
        Function.MEAN: statistics.fmean(numbers),
        Function.MIN: min(numbers),
        Function.MAX: max(numbers),
        Function.STD: statistics.stdev(numbers) if len(numbers) > 1 else math.nan,
        Function.FIRST: numbers[order[0]],
        Function.LAST: numbers[order[-1]],
        Function.COUNT_DISTINCT: len(set(numbers)),
    }
    for function, value in expected.items():
        assert whole.values(function)[0] == pytest.approx(value, rel=1e-9, abs=1e-3, nan_ok=True), function


def test_a_group_without_cells_is_empty() -> None:
    whole = cells(Layout.of(ALL), [(5.0, 1, 1)]).combined(np.array([1]), 3)
    found = {function: whole.values(function)[[0, 2]].tolist() for function in ALL}
    assert found[Function.COUNT] == found[Function.COUNT_DISTINCT] == [0, 0]
    assert all(math.isnan(v) for f in ALL if f not in {Function.COUNT, Function.COUNT_DISTINCT} for v in found[f])


def test_a_cell_never_holds_more_different_values_than_tell_that_it_is_too_many() -> None:
    layout = Layout.of([Function.COUNT_DISTINCT])
    many = one(cells(layout, [(float(n), 0, 0) for n in range(MAX_DISTINCT + 500)]))
    assert many.values(Function.COUNT_DISTINCT)[0] == MAX_DISTINCT + 1
    assert one(many.joined(cells(layout, [(-1.0, 0, 0)]))).values(Function.COUNT_DISTINCT)[0] == MAX_DISTINCT + 1


def test_a_cell_has_room_for_what_its_functions_need_only() -> None:
    assert Layout.of([Function.COUNT]).width == 8
    assert Layout.of([Function.COUNT, Function.SUM, Function.MEAN, Function.STD]).width == 32
