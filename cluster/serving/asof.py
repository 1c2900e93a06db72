"""Point-in-time joins: for each (entity, time), each feature's value as it was known then.

A value joins at time t when its `event_timestamp <= t`, it is not older than the view's ttl (both limits count), and, when
asked for, it had arrived by `known_at`. Among several the latest event counts, then the latest `created_at`, then the
greatest position: the order that the online store uses. A stored null joins as null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.errors import Refused
from cluster.ingest.times import to_micros
from cluster.registry.catalog import FeatureSpec

TIME = "event_timestamp"

# The rank makes right-side rows unique, so that the join never has to choose among equals; 'infinity' stands for "any
# created_at". Only rows of the feature, of the asked entities and in the asked time range are sorted.
_JOIN = """
    WITH history AS (
        SELECT entity_id, value, event_timestamp,
            {{'a': event_timestamp, 'b': created_at, 'c': position, 'd': source_id}} AS rank
        FROM features
        WHERE feature_name = $feature AND event_timestamp BETWEEN make_timestamp($first) AND make_timestamp($last)
            AND entity_id IN (SELECT entity_id FROM {asked}) {known}
    )
    SELECT asked.n, history.value
    FROM (
        SELECT n, entity_id, asked_at, {{'a': asked_at, 'b': 'infinity'::TIMESTAMP, 'c': 0::BIGINT, 'd': 0::INTEGER}} AS rank
        FROM {asked}
    ) AS asked
    ASOF JOIN history ON asked.entity_id = history.entity_id AND asked.rank >= history.rank {fresh}"""
_KNOWN = "AND created_at <= make_timestamp($known_at)"
_FRESH = "WHERE epoch_us(asked.asked_at) - epoch_us(history.event_timestamp) <= $ttl"


class _Snapshot(Protocol):
    def query(self, sql: str, parameters: Mapping[str, Any], /) -> pa.Table:
        """Return all rows of a query."""


class Reads(Protocol):
    """What a join needs of the offline store: `cluster.stores.duckdb_reads.DuckReads`."""

    def snapshot(self, tables: Mapping[str, pa.Table], /) -> AbstractContextManager[_Snapshot]:
        """Give several queries one moment of the database, and `tables` under their names."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The rows that can match at all, for one join key: `n` (row number), `entity_id`, `asked_at`. Its range is in µs."""

    name: str
    rows: pa.Table
    first: int
    last: int


def point_in_time(
    reads: Reads,
    entity_rows: pa.Table,
    specs: Sequence[FeatureSpec],
    *,
    known_at_us: int | None = None,
    full_names: bool = False,
) -> pa.Table:
    """Return `entity_rows`, unchanged and in their order, with a float64 column for each feature.

    Needed are the join keys of `specs` (text or integers) and `event_timestamp` (any Arrow timestamp or date, or RFC 3339
    text; without a zone UTC). A column is called after the feature, or `view__feature` with `full_names`. Rows that match
    nothing, also for want of a key or a time, have nulls. `known_at_us` hides what arrived later. All features are read
    at one moment of the database. Raise Refused for missing, unusable or clashing columns.
    """
    named = {f"{spec.view}__{spec.name}" if full_names else spec.name: spec for spec in specs}
    _check_names(entity_rows, specs, named)
    times, timed = _times(entity_rows[TIME])
    keys = sorted({spec.join_key for spec in specs})
    asked = {key: _asked(f"asked_{n}", _keys(entity_rows[key], key), times, timed) for n, key in enumerate(keys)}
    with reads.snapshot({one.name: one.rows for one in asked.values()}) as snapshot:
        columns = {
            name: _column(_join(snapshot, asked[spec.join_key], spec, known_at_us), len(times)) for name, spec in named.items()
        }
    for name, column in columns.items():
        entity_rows = entity_rows.append_column(name, column)
    return entity_rows


def _join(snapshot: _Snapshot, asked: _Asked, spec: FeatureSpec, known_at_us: int | None) -> pa.Table:
    sql, parameters = _JOIN, {"feature": spec.name, "first": 0, "last": asked.last}
    known = fresh = ""
    if known_at_us is not None:
        known, parameters["known_at"] = _KNOWN, known_at_us
    if spec.ttl_us is not None:
        fresh, parameters["ttl"], parameters["first"] = _FRESH, spec.ttl_us, max(0, asked.first - spec.ttl_us)
    return snapshot.query(sql.format(asked=asked.name, known=known, fresh=fresh), parameters)


def _column(found: pa.Table, rows: int) -> pa.Array:
    """Return the joined values at their row numbers, null elsewhere."""
    positions = found["n"].to_numpy()
    values, missing = np.zeros(rows), np.ones(rows, dtype=np.bool_)
    values[positions] = found["value"].fill_null(0.0).to_numpy()
    missing[positions] = found["value"].is_null().to_numpy()
    return pa.array(values, pa.float64(), mask=missing)


def _check_names(entity_rows: pa.Table, specs: Sequence[FeatureSpec], named: Collection[str]) -> None:
    present = entity_rows.column_names
    if repeated := sorted(name for name, count in Counter(present).items() if count > 1):
        raise Refused(f"entity rows have column '{repeated[0]}' more than once: rename one")
    if TIME not in present:
        raise Refused(f"entity rows have no column '{TIME}': add the time at which each row asks")
    for spec in specs:
        if spec.join_key not in present:
            raise Refused(
                f"entity rows have no column '{spec.join_key}', the join key of '{spec.view}:{spec.name}': add it, "
                f"or leave out the features of entity '{spec.entity}'",
            )
    if clashing := sorted(set(present) & set(named)):
        raise Refused(
            f"'{clashing[0]}' is a column of the entity rows and an asked feature: rename the column, "
            "or ask for full names (view__feature)",
        )


def _asked(name: str, keys: pa.Array, times: NDArray[np.int64], timed: NDArray[np.bool_]) -> _Asked:
    usable = np.flatnonzero(timed & keys.is_valid().to_numpy(zero_copy_only=False))
    asked_times = times[usable]
    rows = pa.table(
        {
            "n": pa.array(usable, pa.int64()),
            "entity_id": keys.take(pa.array(usable)),
            "asked_at": pa.array(asked_times, pa.timestamp("us")),
        },
    )
    first, last = (int(asked_times.min()), int(asked_times.max())) if len(usable) else (0, 0)
    return _Asked(name, rows, first, last)


def _keys(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return a join key as the text that entity ids are stored as."""
    plain = _plain(column)
    if not (pa.types.is_integer(plain.type) or _is_text(plain.type)):
        raise Refused(f"join key '{name}' is {plain.type}: entity ids are text or integers, cast the column")
    return plain.cast(pa.string())


def _times(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return µs, and where there is a time."""
    plain = _plain(column)
    if pa.types.is_date(plain.type):
        plain = plain.cast(pa.timestamp("ms"))
    if not (pa.types.is_timestamp(plain.type) or _is_text(plain.type)):
        raise Refused(f"'{TIME}' is {plain.type}: cast it to a timestamp, or give RFC 3339 text")
    times, valid = to_micros(plain.cast(pa.string()) if _is_text(plain.type) else plain, "us")
    unreadable = np.flatnonzero(~valid & plain.is_valid().to_numpy(zero_copy_only=False))
    if len(unreadable):
        raise Refused(
            f"'{TIME}' of row {unreadable[0]} (and {len(unreadable) - 1} more) is not a time between 1970 and 2262: "
            "give a timestamp or RFC 3339 text, or null for no answer",
        )
    return times, valid


def _plain(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
