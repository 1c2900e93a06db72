"""Columns of text to columns of the type that a source asks for. What a row means never depends on its neighbours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.ingest.files.layout import Kind
from cluster.ingest.times import text_of

Mask = NDArray[np.bool_]
#: A column of the wanted type, null where a text did not fit, and where that was; None stands for nowhere.
Converted = tuple[pa.Array, Mask | None]

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$"
_INTEGER = r"^-?[0-9]+$"
_BOOLEANS = pa.array(["false", "true"])


def from_text(column: pa.Array, kind: Kind, unit: str) -> Converted:
    """Return `column` (string) as `kind`; integer times are in `unit`."""
    match kind:
        case Kind.NUMBER:
            return _numbers(column)
        case Kind.INTEGER:
            return _matching(column, _INTEGER, pa.int64())
        case Kind.BOOLEAN:
            return _booleans(column)
        case Kind.TIME:
            return _times(column, unit), None
    return column, None


def _numbers(column: pa.Array) -> Converted:
    try:
        return column.cast(pa.float64()), None
    except pa.ArrowInvalid:
        return _matching(column, _NUMBER, pa.float64())


def _matching(column: pa.Array, pattern: str, wanted: pa.DataType) -> Converted:
    """Cast the texts that match."""
    fits = pc.match_substring_regex(column, pattern)
    candidates = column if pc.all(fits).as_py() is not False else pc.if_else(fits, column, pa.scalar(None, pa.string()))
    cast = _cast(candidates, wanted)
    if cast.null_count == column.null_count:
        return cast, None
    return cast, mask(pc.and_(column.is_valid(), cast.is_null()))


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Cast what can be; halves find the few that match the pattern but overflow."""
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, wanted)
        half = len(column) // 2
        return pa.concat_arrays([_cast(column.slice(0, half), wanted), _cast(column.slice(half), wanted)])


def _booleans(column: pa.Array) -> Converted:
    code = pc.index_in(pc.utf8_lower(column), _BOOLEANS)
    return code.cast(pa.bool_()), mask(pc.and_(column.is_valid(), code.is_null()))


def _times(column: pa.Array, unit: str) -> pa.Array:
    """Return int64 when all are whole numbers, and else text, with the numbers among it as times in text."""
    whole = pc.match_substring_regex(column, _INTEGER)
    if not pc.any(whole).as_py():
        return column
    numbers, overflown = _matching(column, _INTEGER, pa.int64())
    if pc.all(whole).as_py() and overflown is None:
        return numbers
    texts = column.to_pylist()
    for index in np.flatnonzero(mask(numbers.is_valid())).tolist():
        texts[index] = text_of(numbers[index].as_py(), unit)
    return pa.array(texts, pa.string())


def mask(booleans: pa.Array) -> Mask:
    """Return a Boolean column without nulls as an array."""
    found: Mask = booleans.to_numpy(zero_copy_only=False)
    return found
