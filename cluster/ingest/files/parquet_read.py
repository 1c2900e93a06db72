"""A piece of a Parquet file into typed columns."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.ingest.files.layout import Kind, Layout
from cluster.ingest.files.piece import Piece
from cluster.ingest.files.rows import Rows, WrongTypes
from cluster.ingest.files.text_values import Mask, mask
from cluster.records import Reason

_INT64_MAX = pa.scalar(2**63 - 1, pa.uint64())


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Reads pieces of Parquet files for one source; splitting has checked the columns' types."""

    layout: Layout

    def __call__(self, piece: Piece, /) -> Rows:
        """Return the rows of `piece`."""
        table = pa.ipc.open_stream(pa.py_buffer(piece.payload)).read_all().combine_chunks()
        wrong = WrongTypes(piece.positions())
        columns = {}
        for column in self.layout.present(table.column_names):
            found = plain(table.column(column.name))
            if pa.types.is_string(found.type) and (undecodable := not_utf8(found)) is not None:
                wrong.mark(undecodable, Reason.INVALID_UTF8, f"'{column.name}' is not UTF-8")
                found = pc.if_else(pa.array(undecodable), pa.scalar(None, pa.string()), found)
            if pa.types.is_uint64(found.type) and column.kind in (Kind.INTEGER, Kind.TIME):
                large = mask(pc.greater(found, _INT64_MAX).fill_null(False))
                wrong.mark(large, Reason.WRONG_TYPE, f"'{column.name}' is larger than a 64-bit integer")
                found = pc.if_else(pa.array(large), pa.scalar(None, found.type), found)
            columns[column.name] = found.cast(_target(column.kind, found.type), safe=False)
        every = piece.positions()
        positions, columns = wrong.good(columns)
        return Rows(positions, columns, wrong.faults, lambda position: row_json(table, int(np.searchsorted(every, position))))


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array without a dictionary; text as string."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    is_text = pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type)
    return array.cast(pa.string()) if is_text else array


def not_utf8(column: pa.Array) -> Mask | None:
    """Return where a string column holds other bytes; None for nowhere. Parquet writers are not all careful."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([value.is_valid and not _decodes(value.as_buffer()) for value in column])
    return None


def row_json(table: pa.Table | pa.RecordBatch, index: int) -> bytes:
    """Return a row as JSON text, whatever is in it."""
    row = {name: _json_value(table.column(name)[index]) for name in table.schema.names}
    return json.dumps(row, default=str, ensure_ascii=False).encode(errors="backslashreplace")


def _json_value(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    if pa.types.is_timestamp(scalar.type) and scalar.type.tz:
        scalar = scalar.cast(pa.timestamp(scalar.type.unit, "UTC"))  # the file's zone may be one that Python does not know
    try:
        value = scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes().decode(errors="backslashreplace")
    except (OverflowError, ValueError):  # beyond Python's years; as text, for a replay would read a number in the source's unit
        return f"{scalar.value} {scalar.type}"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _decodes(text: pa.Buffer) -> bool:
    try:
        text.to_pybytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _target(kind: Kind, found: pa.DataType) -> pa.DataType:
    match kind:
        case Kind.NUMBER:
            return pa.float64()
        case Kind.INTEGER:
            return pa.int64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.TIME:
            return _time_target(found)
    return pa.string()


def _time_target(found: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(found) or pa.types.is_string(found):
        return found
    return pa.timestamp("s") if pa.types.is_date(found) else pa.int64()
