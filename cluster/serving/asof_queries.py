"""The queries of a point-in-time join, each for one feature, over one moment of the database.

Features that have values of the same records, as those of a view over wide records do, need one search for all: the record
that is right for one is right for the others, and their values are fetched by its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from cluster.registry.catalog import FeatureSpec
from cluster.serving.history import of_versions

#: For fewer asked rows it costs more to find out which features share their records than to search for each.
MANY = 100_000

# The rank makes right-side rows unique, so that the join never has to choose among equals; 'infinity' stands for "any
# created_at". Only rows of the feature, of the asked entities and in the asked time range are sorted, with entities as
# numbers, which sort faster than text.
_JOIN = """
    WITH history AS (
        SELECT entity, value, event_timestamp, source_id, position,
            {{'a': event_timestamp, 'b': created_at, 'c': position, 'd': source_id}} AS rank
        FROM {history} JOIN {asked}_entities USING (entity_id)
        WHERE feature_name = $feature AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last) {known}
    )
    SELECT asked.n, history.value, history.source_id, history.position
    FROM (
        SELECT n, entity, asked_at, {{'a': asked_at, 'b': 'infinity'::TIMESTAMP, 'c': 0::BIGINT, 'd': 0::INTEGER}} AS rank
        FROM {asked}
    ) AS asked
    ASOF JOIN history ON asked.entity = history.entity AND asked.rank >= history.rank {fresh}"""
# With a limit for each row, the newest row of all is right if it was known by then, which is what most rows find. For the
# others the newest known one is looked for among all earlier ones.
_JOIN_KNOWN = """
    WITH history AS MATERIALIZED (
        SELECT entity, value, event_timestamp, created_at,
            {{'a': event_timestamp, 'b': created_at, 'c': position, 'd': source_id}} AS rank
        FROM {history} JOIN {asked}_entities USING (entity_id)
        WHERE feature_name = $feature AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last) {known}
    ), newest AS MATERIALIZED (
        SELECT asked.*, history.value, history.event_timestamp, history.created_at <= asked.known_at AS known
        FROM (
            SELECT *, {{'a': asked_at, 'b': 'infinity'::TIMESTAMP, 'c': 0::BIGINT, 'd': 0::INTEGER}} AS rank FROM {asked}
        ) AS asked
        ASOF JOIN history ON asked.entity = history.entity AND asked.rank >= history.rank
    ), earlier AS (
        SELECT newest.n, newest.asked_at, last(history.value ORDER BY history.rank) AS value,
            max(history.event_timestamp) AS event_timestamp
        FROM newest JOIN history ON newest.entity = history.entity AND history.event_timestamp <= newest.asked_at
            AND history.created_at <= newest.known_at
        WHERE NOT newest.known GROUP BY newest.n, newest.asked_at
    )
    SELECT asked.n, asked.value FROM (
        SELECT n, asked_at, value, event_timestamp FROM newest WHERE known UNION ALL BY NAME FROM earlier
    ) AS asked {fresh}"""
# Equal for features that have values of the same records, of equal entities and times.
_RECORDS = """
    SELECT feature_name, count(*) AS n, sum(digest::HUGEINT)::VARCHAR AS total, bit_xor(digest) AS mixed FROM (
        SELECT feature_name, hash(entity_id, event_timestamp, created_at, source_id, position) AS digest FROM {history}
        WHERE feature_name IN (SELECT unnest($features::VARCHAR[]))
            AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last) {known}
    ) GROUP BY feature_name"""
_OF_RECORDS = """
    SELECT found.n, history.value FROM found JOIN (
        SELECT source_id, position, value FROM {history}
        WHERE feature_name = $feature AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last)
    ) AS history USING (source_id, position)"""
_KNOWN = "AND created_at <= make_timestamp($known_at)"
_FRESH = "WHERE epoch_us(asked.asked_at) - epoch_us({found}.event_timestamp) <= $ttl"


class Snapshot(Protocol):
    """What the queries need of an offline store: one moment of it."""

    def give(self, name: str, table: pa.Table, /) -> None:
        """Let queries read `table` under this name."""

    def query(self, sql: str, parameters: Mapping[str, Any], /) -> pa.Table:
        """Return all rows of a query."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a join looks at history.

    `known_at_us` hides what arrived later, for all rows; the time in the column `known_at_column` does so for each. `versions`
    says for each feature whose definitions' values count; without it history is read as it is. Without `versions`,
    `ledger_row` leaves out of windows what was committed after that row of the ledger: for verify.
    """

    known_at_us: int | None = None
    known_at_column: str = ""
    full_names: bool = False
    versions: Mapping[str, Sequence[int]] | None = None
    ledger_row: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows that can match at all, for one join key: `n` (row number), `entity`, `asked_at`, and `known_at` if asked.

    `entities` says which `entity_id` each number stands for. The range is in µs.
    """

    name: str
    rows: pa.Table
    entities: pa.Table
    first: int
    last: int

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Return what a join looks at, under its names."""
        return {self.name: self.rows, f"{self.name}_entities": self.entities}


class _Query(NamedTuple):
    """How history is looked at for a feature; equal for features that may be searched for together, but for its name."""

    history: str
    known: str
    fresh: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, asked: Asked, spec: FeatureSpec, terms: Terms) -> _Query:
        parameters: dict[str, Any] = {"first": 0, "last": asked.last}
        known, fresh, history = "", "", "features"
        if terms.known_at_us is not None:
            known, parameters["known_at"] = _KNOWN, terms.known_at_us
        if spec.ttl_us is not None:
            fresh = _FRESH.format(found="asked" if terms.known_at_column else "history")
            parameters["ttl"], parameters["first"] = spec.ttl_us, max(0, asked.first - spec.ttl_us)
        if terms.versions is not None:
            history, parameters["versions"] = of_versions("versions"), list(terms.versions[spec.name])
        return cls(history, known, fresh, parameters)


def joined(
    snapshot: Snapshot, asked: Asked, specs: Sequence[FeatureSpec], terms: Terms
) -> Iterator[tuple[FeatureSpec, pa.Table]]:
    """Yield each feature with what joined: `n` and `value`; rows that match nothing are left out."""
    for query, group in _alike(asked, specs, terms):
        for lead, *others in _sharing(snapshot, asked, group, query, terms):
            found = _search(snapshot, asked, lead, query, terms)
            yield lead, found
            if others:
                snapshot.give("found", found.select(["n", "source_id", "position"]))
            for spec in others:
                yield spec, _fetch(snapshot, spec, query)


def _alike(asked: Asked, specs: Sequence[FeatureSpec], terms: Terms) -> Iterator[tuple[_Query, list[FeatureSpec]]]:
    groups: dict[str, tuple[_Query, list[FeatureSpec]]] = {}
    for spec in specs:
        query = _Query.of(asked, spec, terms)
        groups.setdefault(repr(query), (query, []))[1].append(spec)  # it holds a dictionary, which is no key
    yield from groups.values()


def _sharing(
    snapshot: Snapshot, asked: Asked, specs: Sequence[FeatureSpec], query: _Query, terms: Terms
) -> list[list[FeatureSpec]]:
    """Return the features in groups that share their records; each by itself when to find that out is not worth it."""
    if len(specs) == 1 or len(asked.rows) < MANY or terms.known_at_column:
        return [[spec] for spec in specs]
    sql = _RECORDS.format(history=query.history, known=query.known)
    wanted = {name: value for name, value in query.parameters.items() if name != "ttl"}
    digests = snapshot.query(sql, wanted | {"features": [spec.name for spec in specs]}).to_pylist()
    records = {row["feature_name"]: (row["n"], row["total"], row["mixed"]) for row in digests}
    groups: defaultdict[Any, list[FeatureSpec]] = defaultdict(list)
    for spec in specs:
        groups[records.get(spec.name)].append(spec)
    return list(groups.values())


def _search(snapshot: Snapshot, asked: Asked, spec: FeatureSpec, query: _Query, terms: Terms) -> pa.Table:
    sql = _JOIN_KNOWN if terms.known_at_column else _JOIN
    text = sql.format(asked=asked.name, known=query.known, fresh=query.fresh, history=query.history)
    return snapshot.query(text, {**query.parameters, "feature": spec.name})


def _fetch(snapshot: Snapshot, spec: FeatureSpec, query: _Query) -> pa.Table:
    """Return the values that a feature has at the records in `found`."""
    wanted = {name: value for name, value in query.parameters.items() if name in ("first", "last", "versions")}
    return snapshot.query(_OF_RECORDS.format(history=query.history), wanted | {"feature": spec.name})
