"""Newest wins, within a batch. The same order as `stores/newest_wins.lua` and DuckDB: (event_timestamp, created_at).

Among equals the last in table order wins, so rows in position order end as if they had been applied one by one.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Above this many possible pairs for each row, scattering into an array of all pairs costs more than sorting the keys.
_SPARSE = 16
_BEFORE_ALL_TIME = np.iinfo(np.int64).min


def online_rows(rows: pa.Table, online: Collection[str]) -> pa.Table:
    """Return the rows (schema ROWS_SCHEMA) whose feature is in `online`, in the same order."""
    names = rows.column("feature_name").combine_chunks()
    wanted = np.isin(np.array(names.dictionary.to_pylist(), dtype=object), list(online))
    if wanted.all():
        return rows
    return rows.filter(pa.array(wanted[names.indices.to_numpy(zero_copy_only=False)]))


def newest(rows: pa.Table) -> pa.Table:
    """Return one row (schema ROWS_SCHEMA) for each (entity_id, feature_name): the greatest (event_timestamp, created_at).

    Rows come back grouped by entity, in order of first appearance, which lets the online store write an entity at once.
    """
    rows = rows.combine_chunks()
    pair, pairs = _pairs(rows)
    candidates = np.arange(len(rows))
    for column in ("event_timestamp", "created_at"):
        candidates = _greatest(rows.column(column).cast(pa.int64()).to_numpy(), pair, pairs, candidates)
    last = np.full(pairs, -1)
    last[pair[candidates]] = candidates  # NumPy promises that the last of repeated indices is assigned
    kept = last[last >= 0]
    return rows if _is_all(kept, len(rows)) else rows.take(pa.array(kept))


def _pairs(rows: pa.Table) -> tuple[Ints, int]:
    """Return a number for each row's (entity, feature), ordered by entity, and how many numbers there are."""
    entities = pc.dictionary_encode(rows.column("entity_id")).combine_chunks()
    features = rows.column("feature_name").combine_chunks()
    width = len(features.dictionary)
    pair = entities.indices.to_numpy().astype(np.int64) * width + features.indices.to_numpy()
    pairs = len(entities.dictionary) * width
    if pairs <= _SPARSE * len(rows):
        return pair, pairs
    distinct, pair = np.unique(pair, return_inverse=True)
    return pair, len(distinct)


def _greatest(time: Ints, pair: Ints, pairs: int, candidates: Ints) -> Ints:
    """Return the candidates (row numbers, ascending) whose time is the greatest of their pair."""
    times, of = time[candidates], pair[candidates]
    greatest = np.full(pairs, _BEFORE_ALL_TIME)
    np.maximum.at(greatest, of, times)
    latest: Ints = candidates[times == greatest[of]]
    return latest


def _is_all(kept: Ints, count: int) -> bool:
    return len(kept) == count and bool((kept[1:] > kept[:-1]).all())
