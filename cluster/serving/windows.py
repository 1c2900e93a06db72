"""Windows at read time: for each (entity, time) the count, sum, ... of the events in its window (cluster/windows).

Events and questions are put into one order by entity and time, and DuckDB's window functions look back from each question.
They combine partial results, as a tree, so that a small window after large values loses nothing, which the difference of two
running totals would. One pass does for all aggregations of the same input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import Refused
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import FeatureSpec
from cluster.serving.history import UP_TO_ROW, of_versions
from cluster.windows.window import MAX_DISTINCT

if TYPE_CHECKING:  # asof.py calls this module
    from cluster.serving.asof import Terms

Inputs = tuple[str, ...]  # the feature that is aggregated, and its filter

#: `place` is the order of an entity's events, the one that point-in-time joins use.
_RESULTS = {
    Function.COUNT: "count(value)",
    Function.SUM: "sum(value)",
    Function.MEAN: "avg(value)",
    Function.MIN: "min(value)",
    Function.MAX: "max(value)",
    Function.STD: "stddev_samp(value)",
    Function.LAST: "arg_max(value, place)",
    Function.FIRST: "arg_min(value, place)",
    Function.COUNT_DISTINCT: "count(DISTINCT value)",
}
_EVENTS = """
    WITH events AS (
        SELECT entity_id, epoch_us(event_timestamp) AS moment, value, epoch_us(created_at) AS created{place}
        FROM {history} {filter}
        WHERE feature_name = $input AND value IS NOT NULL AND entity_id IN (SELECT entity_id FROM {asked})
            AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last) {known}
    )"""
_PLACE = """,
            row_number() OVER (PARTITION BY entity_id ORDER BY event_timestamp, created_at, position, source_id) AS place"""
_FILTER = """SEMI JOIN (
            SELECT source_id, position FROM {history} WHERE feature_name = $filter AND value <> 0
                AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last)
        ) USING (source_id, position)"""
_KNOWN = "AND created_at <= make_timestamp($known_at)"
_LOOK_BACK = """{events}, line AS (
        SELECT moment, entity_id, value{place}, NULL::BIGINT AS n FROM events
        UNION ALL
        SELECT epoch_us(asked_at), entity_id, NULL{no_place}, n FROM {asked}
    )
    SELECT * FROM (SELECT n, {results} FROM line) WHERE n IS NOT NULL"""
_OVER = """{result} OVER (
        PARTITION BY entity_id ORDER BY moment RANGE BETWEEN (moment % {hop} + {length} - 1) PRECEDING AND CURRENT ROW
    )"""
# What was known differs from question to question, so each looks at its events by itself.
_LOOK_EACH = """{events}
    SELECT asked.n, {results}
    FROM (SELECT n, entity_id, epoch_us(asked_at) AS t, epoch_us(known_at) AS known FROM {asked}) AS asked
    LEFT JOIN events ON events.entity_id = asked.entity_id AND moment > least({edges}) AND moment <= t AND created <= known
    GROUP BY asked.n"""
_EDGE = "t - t % {hop} - {length}"
_WITHIN = f"{{result}} FILTER (moment > {_EDGE})"


class _Snapshot(Protocol):
    def query(self, sql: str, parameters: Mapping[str, Any], /) -> pa.Table:
        """Return all rows of a query."""


@dataclass(frozen=True, slots=True)
class Questions:
    """A table of the snapshot with `n`, `entity_id`, `asked_at` and perhaps `known_at`, and its range of times in µs."""

    table: str
    first: int
    last: int


def aggregated(snapshot: _Snapshot, asked: Questions, specs: Sequence[FeatureSpec], terms: Terms) -> dict[str, pa.Table]:
    """Return for each of `specs`, aggregations all, a table of `n` and `value` (a double or null) with a row for each question.

    Raise Refused when a window has more different values than can be counted.
    """
    groups: dict[Inputs, list[FeatureSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.rows, []).append(spec)
    found: dict[str, pa.Table] = {}
    for inputs, group in groups.items():
        found |= _group(snapshot, asked, _Group(inputs, group, terms))
    return found


@dataclass(frozen=True, slots=True)
class _Group:
    """Aggregations of the same input under the same filter."""

    inputs: Inputs
    specs: Sequence[FeatureSpec]
    terms: Terms

    @property
    def aggregations(self) -> list[Aggregation]:
        return [spec.aggregation for spec in self.specs if spec.aggregation]

    def statement(self, asked: str) -> str:
        """Return the query; `asked` is the table of questions."""
        if self.terms.known_at_column:
            edges = ", ".join(_filled(_EDGE, a) for a in self.aggregations)
            return _LOOK_EACH.format(events=self._events(asked), asked=asked, results=self._results(_WITHIN), edges=edges)
        place, no_place = (", place", ", NULL") if self._is_ordered else ("", "")
        parts = {"results": self._results(_OVER), "place": place, "no_place": no_place}
        return _LOOK_BACK.format(events=self._events(asked), asked=asked, **parts)

    @property
    def _is_ordered(self) -> bool:
        return any(a.function in {Function.FIRST, Function.LAST} for a in self.aggregations)

    def _results(self, over: str) -> str:
        return ", ".join(f"{_filled(over, a)} AS v{number}" for number, a in enumerate(self.aggregations))

    def _events(self, asked: str) -> str:
        return _EVENTS.format(
            asked=asked,
            history=self._history("versions"),
            filter=_FILTER.format(history=self._history("filter_versions")) if len(self.inputs) > 1 else "",
            known="" if self.terms.known_at_us is None else _KNOWN,
            place=_PLACE if self._is_ordered else "",
        )

    def _history(self, versions: str) -> str:
        if self.terms.versions is not None:
            return of_versions(versions)
        return "features" if self.terms.ledger_row is None else UP_TO_ROW

    def parameters(self, asked: Questions) -> dict[str, Any]:
        """Return what the query's parameters are."""
        edges = [a.span.edge(asked.first) for a in self.aggregations]
        found: dict[str, Any] = {"input": self.inputs[0], "first": max(0, min(edges) + 1), "last": asked.last}
        if self.terms.known_at_us is not None:
            found["known_at"] = self.terms.known_at_us
        if self.terms.versions is not None:
            found["versions"] = list(self.terms.versions[self.inputs[0]])
        elif self.terms.ledger_row is not None:
            found["ledger_row"] = self.terms.ledger_row
        if len(self.inputs) > 1:
            found["filter"] = self.inputs[1]
            if self.terms.versions is not None:
                found["filter_versions"] = list(self.terms.versions[self.inputs[1]])
        return found


def _filled(text: str, aggregation: Aggregation) -> str:
    """Return a part of a query about one aggregation."""
    window = aggregation.span
    return text.format(result=_RESULTS[Function(aggregation.function)], hop=window.hop_us, length=window.length_us)


def _group(snapshot: _Snapshot, asked: Questions, group: _Group) -> dict[str, pa.Table]:
    rows = snapshot.query(group.statement(asked.table), group.parameters(asked))
    found = {}
    for number, (spec, aggregation) in enumerate(zip(group.specs, group.aggregations, strict=True)):
        values = rows[f"v{number}"]
        if aggregation.function == Function.COUNT_DISTINCT:
            _check_distinct(spec, values)
        found[spec.name] = pa.table({"n": rows["n"], "value": values.cast(pa.float64())})
    return found


def _check_distinct(spec: FeatureSpec, counts: pa.ChunkedArray) -> None:
    most = pc.max(counts).as_py() or 0
    if most > MAX_DISTINCT:
        raise Refused(
            f"feature '{spec.name}': a window has {most:,} different values, and it is counted exactly up to {MAX_DISTINCT:,}: "
            "take a shorter window, or leave this feature out",
        )
