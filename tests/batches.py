"""Builds batches for tests of the ledger and its stores: one row for each position unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cluster.ingest.batch import rejects_table
from cluster.records import ROWS_SCHEMA, Batch, Origin, Reason, Rejected

#: entity, feature, value, event µs, created µs, position
Row = tuple[str, str, float | None, int, int, int]

EPOCH_US = 1_700_000_000_000_000


def rows_table(rows: Sequence[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(ROWS_SCHEMA)
    arrays = [pa.array(values, type=f.type) for values, f in zip(columns, ROWS_SCHEMA, strict=True)]
    return pa.table(arrays, schema=ROWS_SCHEMA)


def row_at(position: int) -> Row:
    return f"user_{position % 3}", "clicks", float(position), EPOCH_US + position, EPOCH_US + position, position


def rejected_at(position: int) -> Rejected:
    return Rejected(position, Reason.MISSING_FIELD, "value", b"{}", b"key", (("id", b"1"),))


def make_batch(
    origin: Origin,
    epoch: int,
    span: tuple[int, int],
    rows: Sequence[Row] | None = None,
    rejected: Sequence[int] = (),
) -> Batch:
    taken = [row_at(p) for p in range(*span) if p not in rejected] if rows is None else rows
    events = len({row[5] for row in taken})
    return Batch(origin, epoch, *span, events, rows_table(taken), rejects_table([rejected_at(p) for p in rejected]))


def stream_batch(
    epoch: int,
    first: int,
    following: int,
    *,
    partition: int = 0,
    version: int = 1,
    rejected: Sequence[int] = (),
) -> Batch:
    return make_batch(Origin.stream("events", partition, version), epoch, (first, following), rejected=rejected)
