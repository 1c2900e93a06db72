"""Partial results combine in any order and any division, and whole hops make up a window."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import OverLimit
from cluster.registry.aggregation import Aggregation, Function
from cluster.windows.partials import MAX_DISTINCT, Partial, Seen, result
from tests.window_oracle import Event, Question, answer

SECOND = 1_000_000
seen = st.builds(
    Seen,
    st.integers(0, 20).map(lambda s: s * SECOND),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(1, 3),
    st.integers(-4, 4).map(float),
)
events = st.lists(seen, max_size=25, unique_by=lambda s: (s.source_id, s.position))
partials = st.lists(seen, min_size=1, max_size=6).map(lambda some: combined([Partial.of(s) for s in some]))


def combined(some: list[Partial]) -> Partial:
    whole = some[0]
    for more in some[1:]:
        whole += more
    return whole


def same(one: Partial, other: Partial) -> bool:
    exact = ("count", "total", "least", "greatest", "first", "last", "distinct")
    close = (one.mean, one.spread) == pytest.approx((other.mean, other.spread), rel=1e-9, abs=1e-9)
    return close and all(getattr(one, name) == getattr(other, name) for name in exact)


@given(partials, partials, partials)
def test_merging_is_associative_and_commutative(a: Partial, b: Partial, c: Partial) -> None:
    assert same((a + b) + c, a + (b + c))
    assert same(a + b, b + a)


@given(events, st.integers(0, 30), st.sampled_from([(6, 2), (6, 3), (1, 1), (10, 5)]), st.randoms(use_true_random=False))
def test_cells_of_hops_in_any_order_make_up_a_window(
    drawn: list[Seen], at: int, window: tuple[int, int], random: object
) -> None:
    length, hop = (timedelta(seconds=seconds) for seconds in window)
    aggregation = Aggregation("x", "count", length, hop)
    span, now = aggregation.span, at * SECOND
    cells: dict[int, Partial] = {}
    for event in drawn:
        cell, partial = span.cell(event.event), Partial.of(event)
        if event.event <= now:
            cells[cell] = cells[cell] + partial if cell in cells else partial
    held = [cells[cell] for cell in span.cells(now) if cell in cells]
    random.shuffle(held)  # type: ignore[attr-defined]
    history = [Event("e", "x", s.event, s.created, s.position, s.source_id, s.value) for s in drawn]
    for function in Function:
        wanted = answer(history, Aggregation("x", function, length, hop), Question("e", now))
        assert result(function, held) == (wanted if wanted is None else pytest.approx(wanted, rel=1e-9, abs=1e-9)), function


def test_different_values_are_counted_up_to_the_limit() -> None:
    few = Partial.of(Seen(0, 0, 0, 1, 0.0))
    many = [few, *(Partial.of(Seen(0, 0, n, 1, float(n))) for n in range(3))]
    assert result(Function.COUNT_DISTINCT, many) == 3
    full = Partial(1, 0, 0, 0, 0, 0, few.first, few.last, frozenset(map(float, range(MAX_DISTINCT))))
    assert result(Function.COUNT_DISTINCT, [full, few]) == MAX_DISTINCT
    with pytest.raises(OverLimit, match="10,001 different values"):
        result(Function.COUNT_DISTINCT, [full, Partial.of(Seen(0, 0, 0, 1, -1.0))])
