"""Times of records, text or numbers, to UTC microseconds; a whole column at once.

Text is RFC 3339 in the form that Arrow reads, a little wider: `2024-05-01T10:11:12.123456Z`, with `T`, `t` or a space,
down to hours or only a date, a fraction of 1-9 digits (cut to microseconds), and `Z`, `z`, `+02:00`, `+0200`, `+02` or
nothing (UTC). Numbers are integers in the source's unit. What a row means never depends on its neighbours: the three
ways below differ in speed only.

Times outside [1970-01-01, 2262-04-11) are not accepted: earlier ones are nearly always a unit mistaken or a zero date,
and pandas, NumPy and Arrow cannot hold later ones in nanoseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_MICROS = 9_223_286_400_000_000  # 2262-04-11
MICROS_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}

Micros = tuple[NDArray[np.int64], NDArray[np.bool_]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64_MIN = np.iinfo(np.int64).min

# Every text that matches is a time that Arrow reads: the calendar is in the pattern, all but 29 February 2000.
_YEAR = r"(?:19[7-9]\d|2[01]\d\d|22[0-5]\d|226[01])"
_LEAP = r"(?:(?:19|2[01])(?:0[48]|[2468][048]|[13579][26])|22(?:0[48]|[24][048]|[135][26]|60))"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)|{_LEAP}-02-29)"
)
_CLOCK = r"[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?"
_ZONED = rf"^{_DAY}{_CLOCK}(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$"
_PLAIN = rf"^{_DAY}{_CLOCK}$"

_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)?)?",
    re.ASCII,
)


def to_micros(column: pa.Array, unit: str) -> Micros:
    """Return µs, and where they are valid; what is null, unreadable or out of bounds is 0 and False.

    `column` is string, int64 (in `unit`: s, ms or us) or any Arrow timestamp (without a zone: UTC).
    """
    if pa.types.is_timestamp(column.type):
        return _from_timestamps(column)
    if pa.types.is_integer(column.type):
        return _from_numbers(_numbers(column), column.is_valid(), MICROS_PER_UNIT[unit])
    return _from_text(column)


def text_of(number: int, unit: str) -> str:
    """Return a time that came as a number as text that `to_micros` reads alike; unreadable text if out of bounds."""
    micros = number * MICROS_PER_UNIT[unit]
    if not 0 <= micros < MAX_MICROS:
        return "out of bounds"
    return str(np.datetime64(micros, "us"))


def text_micros(text: str) -> int | None:
    """Return one text time in µs, or None when it is not a time; no bounds."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups(default="0")
    try:
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    since = moment - _EPOCH
    offset = int(off_hour) * 3600 + int(off_minute) * 60
    seconds = since.days * 86_400 + since.seconds + (offset if sign == "-" else -offset)
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def _from_timestamps(column: pa.Array) -> Micros:
    unit = column.type.unit
    numbers, valid = _numbers(column), column.is_valid()
    if unit == "ns":
        return _from_numbers(numbers // 1_000, valid, 1)
    return _from_numbers(numbers, valid, MICROS_PER_UNIT[unit])


def _from_numbers(numbers: NDArray[np.int64], valid: pa.Array, factor: int) -> Micros:
    good = _numpy(valid) & (numbers >= 0) & (numbers <= (MAX_MICROS - 1) // factor)
    return np.where(good, numbers, 0) * factor, good


def _from_text(column: pa.Array) -> Micros:
    """Whole column in one cast when all rows are of the first one's kind; see `_from_mixed_text` otherwise."""
    # One attempt, and a guess which: Arrow composes an error message for each row that does not fit.
    first = next((text.as_py() for text in column if text.is_valid), "")
    if (kind := _kind(first)) is None:
        return _from_mixed_text(column)
    try:
        return _from_timestamps(column.cast(kind))
    except pa.ArrowInvalid:
        return _from_mixed_text(column)


def _kind(text: str) -> pa.DataType | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    unit = "us" if len(match[7] or "") <= len("123456") else "ns"
    return pa.timestamp(unit, "UTC" if match[8] or text[-1] in "Zz" else None)


def _from_mixed_text(column: pa.Array) -> Micros:
    """Rows of the usual shapes in one cast each, the others one by one."""
    micros = np.full(len(column), _INT64_MIN, dtype=np.int64)
    rest = np.flatnonzero(_numpy(column.is_valid()))
    for pattern, zone in ((_ZONED, "UTC"), (_PLAIN, None)):
        texts = column.take(pa.array(rest))
        usual = pc.match_substring_regex(texts, pattern)
        # Nanoseconds, because only they take a fraction of nine digits; the pattern keeps to years that they can hold.
        cast = texts.filter(usual).cast(pa.timestamp("ns", zone))
        micros[rest[_numpy(usual)]] = _numbers(cast) // 1_000
        rest = rest[~_numpy(usual)]
    one_by_one = map(text_micros, column.take(pa.array(rest)).to_pylist())
    micros[rest] = [_INT64_MIN if one is None else one for one in one_by_one]
    return _from_numbers(micros, column.is_valid(), 1)


def _numbers(column: pa.Array) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = column.cast(pa.int64()).fill_null(_INT64_MIN).to_numpy(zero_copy_only=False)
    return numbers


def _numpy(booleans: pa.Array) -> NDArray[np.bool_]:
    plain: NDArray[np.bool_] = booleans.to_numpy(zero_copy_only=False)
    return plain
