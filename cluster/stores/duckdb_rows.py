"""Batches as rows of `features`, `quarantine` and `batches`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import pyarrow as pa

from cluster.records import Batch, Origin
from cluster.stores.duckdb_statements import Cursor, insert

Ids = dict[Origin, int]


def insert_batches(cursor: Cursor, batches: Sequence[Batch], ids: Ids, now_us: int) -> None:
    """Append the batches' rows and rejects, one statement for each table, in the open transaction."""
    rows = _with_source([(b.rows, ids[b.origin]) for b in batches])
    if rows.num_rows:
        insert(cursor, "features", rows)
    rejects = _with_source([(b.rejects, ids[b.origin]) for b in batches])
    if rejects.num_rows:
        received = pa.array(np.full(rejects.num_rows, now_us), pa.timestamp("us"))
        insert(cursor, "quarantine", rejects.append_column("received_at", received))


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What one row of `batches` says: a range of positions, and what became of it."""

    source_id: int
    first_position: int
    next_position: int
    events: int
    rows: int
    rejected: int
    epoch: int

    @classmethod
    def of(cls, batch: Batch, ids: Ids) -> LedgerRow:
        """Return the row for a batch of a stream."""
        counts = batch.events, batch.rows.num_rows, batch.rejects.num_rows
        return cls(ids[batch.origin], batch.first, batch.next, *counts, batch.epoch)


def insert_ledger(cursor: Cursor, entries: Sequence[LedgerRow], now_us: int) -> None:
    """Append rows of the ledger, in the open transaction."""
    columns = zip(*(astuple(entry) for entry in entries), strict=True)
    table = pa.table({f.name: pa.array(values, pa.int64()) for f, values in zip(fields(LedgerRow), columns, strict=True)})
    insert(cursor, "batches", table.append_column("committed_at", pa.array([now_us] * len(entries), pa.timestamp("us"))))


def _with_source(tables: Sequence[tuple[pa.Table, int]]) -> pa.Table:
    sources = np.repeat(np.array([i for _, i in tables], np.int32), [t.num_rows for t, _ in tables])
    return pa.concat_tables([t for t, _ in tables]).append_column("source_id", pa.array(sources))
