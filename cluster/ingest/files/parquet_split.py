"""A Parquet file into pieces: some rows of its row groups each, as an Arrow stream of the columns that matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import BadFile
from cluster.ingest.files.layout import Column, Kind
from cluster.ingest.files.piece import MAX_PIECE_ROWS, Format, Piece, SplitOptions

_READ_BUFFER = 1024 * 1024


def split_parquet(file: Path, options: SplitOptions) -> Iterator[Piece]:
    """Yield the pieces of a Parquet file; raise BadFile when it cannot be read or its columns do not fit the source."""
    with _readable():
        # Not pre-buffered, and pages read as they are needed: a row group may be as large as the file.
        opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=_READ_BUFFER)
        schema = opened.schema_arrow
    options.layout.check(schema.names)
    columns = options.layout.present(schema.names)
    for column in columns:
        _check_type(column, schema.field(column.name).type)
    return _pieces(opened, [c.name for c in columns], options)


def _pieces(opened: pq.ParquetFile, columns: list[str], options: SplitOptions) -> Iterator[Piece]:
    row = 0
    with opened:
        for number, batch in enumerate(_batches(opened, columns, options.piece_bytes)):
            yield Piece(number, row, len(batch), Format.PARQUET, _to_ipc(batch))
            row += len(batch)


def _batches(opened: pq.ParquetFile, columns: list[str], piece_bytes: int) -> Iterator[pa.RecordBatch]:
    for group in range(opened.metadata.num_row_groups):
        rows = _rows_within(opened.metadata.row_group(group), columns, piece_bytes)
        with _readable():
            batches = opened.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        while True:
            with _readable():
                batch = next(batches, None)
            if batch is None:
                break
            yield from _bounded(batch, piece_bytes)


def _rows_within(group: pq.RowGroupMetaData, columns: list[str], piece_bytes: int) -> int:
    """Return how many rows of a row group make a piece, by the sizes in its footer."""
    chunks = [group.column(index) for index in range(group.num_columns)]
    size: int = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)
    per_row = max(1, size // max(1, int(group.num_rows)))
    return max(1, min(MAX_PIECE_ROWS, piece_bytes // per_row))


def _bounded(batch: pa.RecordBatch, piece_bytes: int) -> Iterator[pa.RecordBatch]:
    """Halve a batch until it is within bounds: values repeated through a dictionary take more than the footer says."""
    if len(batch) <= 1 or batch.nbytes <= 2 * piece_bytes:
        if len(batch):
            yield batch
        return
    half = len(batch) // 2
    yield from _bounded(batch.slice(0, half), piece_bytes)
    yield from _bounded(batch.slice(half), piece_bytes)


def _to_ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"the Parquet file cannot be read ({type(error).__name__}): write and send it again") from error


def _check_type(column: Column, found: pa.DataType) -> None:
    plain = found.value_type if pa.types.is_dictionary(found) else found
    if not (pa.types.is_null(plain) or _fits(column.kind, plain)):
        raise BadFile(f"column '{column.name}' has the type {found}, wanted is {column.kind}: write it with that type")


def _fits(kind: Kind, found: pa.DataType) -> bool:
    text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    integer = pa.types.is_integer(found)
    number = integer or pa.types.is_floating(found) or pa.types.is_decimal(found)
    fits: dict[Kind, bool] = {
        Kind.IDENTIFIER: text or integer,
        Kind.TEXT: text,
        Kind.NUMBER: number,
        Kind.INTEGER: integer,
        Kind.BOOLEAN: pa.types.is_boolean(found),
        Kind.TIME: text or integer or pa.types.is_timestamp(found) or pa.types.is_date(found),
    }
    return fits[kind]
