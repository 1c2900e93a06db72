"""Point-in-time joins: for each (entity, time), each feature's value as it was known then.

A value joins at time t when its `event_timestamp <= t`, it is not older than the view's ttl (both limits count), and, when
asked for, it had arrived by `known_at`. Among several the latest event counts, then the latest `created_at`, then the
greatest position: the order that the online store uses. A stored null joins as null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.errors import Refused
from cluster.ingest.budget import TIMEOUT_S
from cluster.ingest.times import to_micros
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof_queries import Asked, Snapshot, Terms, joined
from cluster.serving.computed import base_of, complete
from cluster.serving.windows import Questions, aggregated

__all__ = ["AS_IT_IS", "TIME", "Reads", "Terms", "asking", "join", "point_in_time", "with_features"]

TIME = "event_timestamp"
AS_IT_IS = Terms()


class Reads(Protocol):
    """What a join needs of the offline store: `cluster.stores.duckdb_reads.DuckReads`."""

    def snapshot(self, tables: Mapping[str, pa.Table], read_id: str, /) -> AbstractContextManager[Snapshot]:
        """Give several queries one moment of the database, and `tables` under their names; `read_id` is for cancelling."""


def point_in_time(
    reads: Reads, entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms = AS_IT_IS, read_id: str = ""
) -> pa.Table:
    """Return `entity_rows`, unchanged and in their order, with a float64 column for each feature.

    Needed are the join keys of `specs` (text or integers) and `event_timestamp` (any Arrow timestamp or date, or RFC 3339
    text; without a zone UTC). A column is called after the feature, or `view__feature` with full names. Rows that match
    nothing, also for want of a key or a time, have nulls. All features are read at one moment of the database. Raise Refused
    for missing, unusable or clashing columns.
    """
    columns = join(reads, asking(entity_rows, specs, terms), base_of(specs), terms, read_id)
    return with_features(entity_rows, finished(columns, specs, terms))


def asking(entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms) -> pa.Table:
    """Return the columns that a join looks at; raise Refused for missing or clashing ones."""
    _check_names(entity_rows, specs, _named(specs, terms))
    if (column := terms.known_at_column) and column not in entity_rows.column_names:
        raise Refused(f"entity rows have no column '{column}', which should say by when each row's values were known: add it")
    wanted = {TIME, *(spec.join_key for spec in specs), *filter(None, [column])}
    return entity_rows.select([name for name in entity_rows.column_names if name in wanted])


def join(reads: Reads, asked_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read_id: str = "") -> pa.Table:
    """Return the features' columns alone, by their names, for what `asking` returned; none of `specs` is computed."""
    times, usable = _times(asked_rows[TIME], TIME)
    known = None
    if terms.known_at_column:
        known, valid = _times(asked_rows[terms.known_at_column], terms.known_at_column)
        usable &= valid
    keys = sorted({spec.join_key for spec in specs})
    asked = {key: _asked(f"asked_{n}", _keys(asked_rows[key], key), times, usable, known) for n, key in enumerate(keys)}
    with reads.snapshot({name: table for one in asked.values() for name, table in one.tables.items()}, read_id) as snapshot:
        found = {
            name: _column(values, len(times))
            for key in keys
            for name, values in _found(snapshot, asked[key], [spec for spec in specs if spec.join_key == key], terms)
        }
    return pa.table({spec.name: found[spec.name] for spec in specs})


def finished(columns: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, timeout_s: float = TIMEOUT_S) -> pa.Table:
    """Return the columns of all `specs` under the names that `terms` ask for, from what `join` found of `base_of(specs)`."""
    if any(spec.computed for spec in specs):
        answers = {name: columns[name].to_numpy() for name in columns.column_names}
        found = complete(specs, answers, timeout_s)
        columns = pa.table({name: pa.array(values, pa.float64(), from_pandas=True) for name, values in found.items()})
    return pa.table({name: columns[spec.name] for name, spec in _named(specs, terms).items()})


def with_features(entity_rows: pa.Table, columns: pa.Table) -> pa.Table:
    """Return `entity_rows` with the columns that `join` found."""
    for name in columns.column_names:
        entity_rows = entity_rows.append_column(name, columns[name])
    return entity_rows


def _named(specs: Sequence[FeatureSpec], terms: Terms) -> dict[str, FeatureSpec]:
    return {f"{spec.view}__{spec.name}" if terms.full_names else spec.name: spec for spec in specs}


def _found(snapshot: Snapshot, asked: Asked, specs: Sequence[FeatureSpec], terms: Terms) -> Iterator[tuple[str, pa.Table]]:
    windows = [spec for spec in specs if spec.aggregation]
    questions = f"(SELECT * FROM {asked.name} JOIN {asked.name}_entities USING (entity))"  # noqa: S608 - our own names
    yield from aggregated(snapshot, Questions(questions, asked.first, asked.last), windows, terms).items()
    for spec, values in joined(snapshot, asked, [spec for spec in specs if not spec.aggregation], terms):
        yield spec.name, values


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


def _asked(
    name: str, keys: pa.Array, times: NDArray[np.int64], usable: NDArray[np.bool_], known: NDArray[np.int64] | None
) -> Asked:
    positions = np.flatnonzero(usable & keys.is_valid().to_numpy(zero_copy_only=False))
    asked_times = times[positions]
    entities = keys.take(pa.array(positions)).dictionary_encode()
    columns = {
        "n": pa.array(positions, pa.int64()),
        "entity": entities.indices,
        "asked_at": pa.array(asked_times, pa.timestamp("us")),
    }
    if known is not None:
        columns["known_at"] = pa.array(known[positions], pa.timestamp("us"))
    first, last = (int(asked_times.min()), int(asked_times.max())) if len(positions) else (0, 0)
    known_as = {"entity_id": entities.dictionary, "entity": pa.array(range(len(entities.dictionary)), pa.int32())}
    return Asked(name, pa.table(columns), pa.table(known_as), first, last)


def _keys(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Return a join key as the text that entity ids are stored as."""
    plain = _plain(column)
    if not (pa.types.is_integer(plain.type) or _is_text(plain.type)):
        raise Refused(f"join key '{name}' is {plain.type}: entity ids are text or integers, cast the column")
    return plain.cast(pa.string())


def _times(column: pa.ChunkedArray, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return µs, and where there is a time."""
    plain = _plain(column)
    if pa.types.is_date(plain.type):
        plain = plain.cast(pa.timestamp("ms"))
    if not (pa.types.is_timestamp(plain.type) or _is_text(plain.type)):
        raise Refused(f"'{name}' is {plain.type}: cast it to a timestamp, or give RFC 3339 text")
    times, valid = to_micros(plain.cast(pa.string()) if _is_text(plain.type) else plain, "us")
    unreadable = np.flatnonzero(~valid & plain.is_valid().to_numpy(zero_copy_only=False))
    if len(unreadable):
        raise Refused(
            f"'{name}' of row {unreadable[0]} (and {len(unreadable) - 1} more) is not a time between 1970 and 2262: "
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
