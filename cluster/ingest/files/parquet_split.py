"""A Parquet file into pieces: some rows of its row groups each, as an Arrow stream of the columns that matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cluster.errors import BadFile
from cluster.ingest.files.layout import Column, Kind
from cluster.ingest.files.parquet_read import row_json
from cluster.ingest.files.piece import MAX_PIECE_ROWS, Format, Piece, SplitOptions
from cluster.ingest.files.text_split import too_large
from cluster.records import Rejected

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
            faults = _too_large(batch, row, options.max_record_bytes)
            kept = batch.take(np.delete(np.arange(len(batch)), [f.position - row for f in faults])) if faults else batch
            yield Piece(number, row, len(batch), Format.PARQUET, _to_ipc(kept), faults=faults)
            row += len(batch)
        if row != opened.metadata.num_rows:
            raise _unreadable(f"{row} rows where its end says {opened.metadata.num_rows}")


def _too_large(batch: pa.RecordBatch, first_row: int, max_record_bytes: int) -> tuple[Rejected, ...]:
    """Return the rows whose texts together are longer than a record may be."""
    sizes: NDArray[np.int64] = sum((_text_bytes(column) for column in batch.columns), np.zeros(len(batch), np.int64))
    found = np.flatnonzero(sizes > max_record_bytes).tolist()
    return tuple(too_large(first_row + index, row_json(batch, index), max_record_bytes) for index in found)


def _text_bytes(column: pa.Array) -> NDArray[np.int64]:
    """Return the bytes that each value of a column of text takes; no other type has long values."""
    if pa.types.is_dictionary(column.type):
        lengths = _text_bytes(column.dictionary)
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        return np.where(valid, lengths[codes], 0) if len(lengths) else np.zeros(len(column), np.int64)
    if not _is_text(column.type):
        return np.zeros(len(column), np.int64)
    sizes: NDArray[np.int64] = pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def _batches(opened: pq.ParquetFile, columns: list[str], piece_bytes: int) -> Iterator[pa.RecordBatch]:
    for group in range(opened.metadata.num_row_groups):
        with _readable():
            if not (rows := _rows_within(opened, group, columns, piece_bytes)):
                continue
            batches = opened.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        while True:
            with _readable():
                batch = next(batches, None)
            if batch is None:
                break
            yield from _bounded(_safe(batch), piece_bytes)


def _safe(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch that can be worked on: Arrow does not check codes, and cannot measure or take from string views."""
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and len(column) > column.null_count:
            codes = pc.min_max(column.indices).as_py()
            if not 0 <= codes["min"] <= codes["max"] < len(column.dictionary):
                raise _unreadable("a code without an entry in its dictionary")
    fields = [pa.field(f.name, pa.string()) if pa.types.is_string_view(f.type) else f for f in batch.schema]
    return batch.cast(pa.schema(fields))


def _rows_within(opened: pq.ParquetFile, group: int, columns: list[str], piece_bytes: int) -> int:
    """Return how many rows of a row group make a piece, by the sizes in its footer; 0 if it has no rows."""
    # Asking for the metadata of a column ends the process when they are damaged; reading a row of it raises.
    if next(opened.iter_batches(1, row_groups=[group], columns=columns, use_threads=False), None) is None:
        return 0
    metadata = opened.metadata.row_group(group)
    wanted = [index for index in range(metadata.num_columns) if opened.schema.column(index).path in columns]
    size = sum(int(metadata.column(index).total_uncompressed_size) for index in wanted)
    per_row = max(1, size // max(1, int(metadata.num_rows)))
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
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for names that are not text
        raise _unreadable(type(error).__name__) from error


def _unreadable(what: str) -> BadFile:
    return BadFile(f"the Parquet file is damaged and cannot be read ({what}): write and send it again")


def _check_type(column: Column, found: pa.DataType) -> None:
    plain = found.value_type if pa.types.is_dictionary(found) else found
    if not (pa.types.is_null(plain) or _fits(column.kind, plain)):
        raise BadFile(f"column '{column.name}' has the type {found}, wanted is {column.kind}: write it with that type")


def _fits(kind: Kind, found: pa.DataType) -> bool:
    text = _is_text(found)
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


def _is_text(found: pa.DataType) -> bool:
    text: bool = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    return text
