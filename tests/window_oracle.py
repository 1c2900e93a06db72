"""What a window is worth, by nested loops over all events: slow, and obviously as docs/windows.md says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cluster.registry.aggregation import Aggregation, Function


class Event(NamedTuple):
    """One row of history; times are µs."""

    entity_id: str
    feature: str
    event: int
    created: int
    position: int
    source_id: int
    value: float | None


class Question(NamedTuple):
    """Whose window, at which time, by what was known when; None knows everything."""

    entity_id: str | None
    at: int | None
    known_at: int | None = None


def _first(events: Sequence[Event]) -> float | None:
    return min(events, key=lambda e: (e.event, e.created, e.position, e.source_id)).value


def _last(events: Sequence[Event]) -> float | None:
    return max(events, key=lambda e: (e.event, e.created, e.position, e.source_id)).value


def _values(events: Iterable[Event]) -> list[float]:
    return [e.value for e in events if e.value is not None]


_OF_SOME: dict[Function, Callable[[Sequence[Event]], float | None]] = {
    Function.SUM: lambda events: sum(_values(events)),
    Function.MEAN: lambda events: statistics.fmean(_values(events)),
    Function.MIN: lambda events: min(_values(events)),
    Function.MAX: lambda events: max(_values(events)),
    Function.STD: lambda events: statistics.stdev(_values(events)) if len(events) > 1 else None,
    Function.FIRST: _first,
    Function.LAST: _last,
    Function.COUNT_DISTINCT: lambda events: len(set(_values(events))),
    Function.COUNT: len,
}


def answer(history: Sequence[Event], aggregation: Aggregation, asked: Question) -> float | None:
    """Return the value of an aggregation at a question."""
    if asked.entity_id is None or asked.at is None:
        return None
    second = 1_000_000
    length, hop = (int(d.total_seconds()) * second for d in (aggregation.window, aggregation.hop or aggregation.window))
    edge = (asked.at - length) - (asked.at - length) % hop
    records = {(row.source_id, row.position) for row in history if row.feature == aggregation.filter and row.value}
    found = []
    for row in history:
        if (row.entity_id, row.feature) == (asked.entity_id, aggregation.input) and edge < row.event <= asked.at:
            known = asked.known_at is None or row.created <= asked.known_at
            passes = aggregation.filter is None or (row.source_id, row.position) in records
            if row.value is not None and known and passes:
                found.append(row)
    if not found:
        return 0 if aggregation.function in {"count", "count_distinct"} else None
    return _OF_SOME[Function(aggregation.function)](found)
