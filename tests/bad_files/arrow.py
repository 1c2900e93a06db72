"""Parquet files: every type that a column may have, and must not have, and rows that only Parquet can hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bad_files.case import Case, Done, Failed, Reject, good_rows, parquet
from tests.bad_files.world import MAX_RECORD_BYTES, TIME, TIME_US
from tests.file_world import Row

ROWS = 2
ALL = Done(good_rows("features", range(ROWS)))
Columns = dict[str, pa.Array]


def columns(**changed: pa.Array) -> Columns:
    """Return the columns of good records of `features`, some of them changed."""
    plain = {"entity_id": ["u0", "u1"], "feature_name": ["age"] * ROWS, "value": [1.5] * ROWS, "event_timestamp": [TIME] * ROWS}
    return {**{name: pa.array(values) for name, values in plain.items()}, **changed}


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, changed in SAME.items():
        yield Case(f"parquet-same:{name}", "parquet", parquet(columns(**changed)), ALL)
    for name, (changed, text) in WRONG_TYPES.items():
        yield Case(f"parquet-type:{name}", "parquet", parquet(columns(**changed)), Failed(text))
    for name, (changed, expected) in OTHERS.items():
        yield Case(f"parquet:{name}", "parquet", parquet(columns(**changed)), expected)
    for name, (changed, reason) in BAD_FIRST_ROWS.items():
        expected = Done(good_rows("features", [1]), [Reject(0, reason)])
        yield Case(f"parquet:{reason}:{name}", "parquet", parquet(columns(**changed)), expected)
    for name, content, result in FILES:
        yield Case(f"parquet:{name}", "parquet", content, result)
    order = {"user_id": ["u0", "u1"], "at": [TIME] * 2, "amount": [3.0] * 2, "count": pa.array([2**64 - 1, 2], pa.uint64())}
    one = Done(good_rows("orders", [1]), [Reject(0, "wrong_type")])
    yield Case("parquet:wrong_type:an integer beyond 64 bits", "parquet", parquet(pa.table(order)), one, "orders")
    for name, column in {"doubles": [2.0] * 2, "decimals": [Decimal(2)] * 2, "text": ["2"] * 2}.items():
        content = parquet(pa.table({**order, "count": column}))
        text = "column 'count' has the type"
        yield Case(f"parquet-type:{name} for an integer", "parquet", content, Failed(text), "orders")
    content = parquet(pa.table({**order, "paid": [1, 0]}))
    yield Case("parquet-type:integers for true or false", "parquet", content, Failed("wanted is true or false"), "orders")
    known = [TIME, None]
    strict = pa.table({**columns(feature_name=pa.array(["height"] * 2)), "known_at": known, "more": [1, 2]})
    yield Case("parquet:strict", "parquet", parquet(strict), Failed("does not know the column 'more'"), "strict")
    fine = Done([Row(n, f"u{n}", "height", 1.5, TIME_US) for n in range(2)])
    yield Case("parquet:known_at may be null", "parquet", parquet(strict.drop_columns("more")), fine, "strict")


def _times(kind: pa.DataType, unit_per_second: int) -> Columns:
    return {"event_timestamp": pa.array([TIME_US * unit_per_second // 10**6] * ROWS, kind)}


def _undecodable(kind: pa.DataType, binary: pa.DataType) -> pa.Array:
    return pa.Array.from_buffers(kind, ROWS, pa.array([b"\xff", b"u1"], binary).buffers())


UNITS = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
ZONES = {"no zone": None, "UTC": "UTC", "Berlin": "Europe/Berlin", "a shift": "+05:30", "an unknown zone": "Nowhere/Atlantis"}
SAME: dict[str, Columns] = {
    **{
        f"timestamps in {unit}, {name}": _times(pa.timestamp(unit, zone), UNITS[unit])
        for unit in UNITS
        for name, zone in ZONES.items()
    },
    "integer times": _times(pa.int64(), 10**6),
    "unsigned integer times": _times(pa.uint64(), 10**6),
    "dictionary of ids": {"entity_id": pa.array(["u0", "u1"]).dictionary_encode()},
    "dictionary of names": {"feature_name": pa.array(["age"] * ROWS).dictionary_encode()},
    "dictionary of times": {"event_timestamp": pa.array([TIME] * ROWS).dictionary_encode()},
    "dictionary of numbers": {"value": pa.array([1.5] * ROWS).dictionary_encode()},
    "dictionary of large text": {"entity_id": pa.array(["u0", "u1"], pa.large_string()).dictionary_encode()},
    "large text": {
        "entity_id": pa.array(["u0", "u1"], pa.large_string()),
        "event_timestamp": pa.array([TIME] * ROWS, pa.large_string()),
    },
    "string views": {"entity_id": pa.array(["u0", "u1"], pa.string_view())},
    "half floats": {"value": pa.array([1.5] * ROWS, pa.float16())},
    "floats": {"value": pa.array([1.5] * ROWS, pa.float32())},
    "decimals": {"value": pa.array([Decimal("1.5")] * ROWS, pa.decimal128(38, 10))},
    "large decimals": {"value": pa.array([Decimal("1.5")] * ROWS, pa.decimal256(70, 3))},
    "nested columns of no interest": {
        "more": pa.array([{"value": [1]}, None]),
        "x": pa.array([[1], None]),
        "b": pa.array([b"\xff"] * ROWS),
    },
}

WRONG_TYPES: dict[str, tuple[Columns, str]] = {
    "text for a number": ({"value": pa.array(["1"] * ROWS)}, "column 'value' has the type string, wanted is a number"),
    "booleans for a number": ({"value": pa.array([True] * ROWS)}, "column 'value' has the type bool"),
    "times for a number": ({"value": pa.array([1] * ROWS, pa.timestamp("us"))}, "column 'value' has the type timestamp[us]"),
    "a struct for a number": ({"value": pa.array([{"a": 1}] * ROWS)}, "column 'value' has the type struct<a: int64>"),
    "a list for a number": ({"value": pa.array([[1.5]] * ROWS)}, "column 'value' has the type list<"),
    "a map for a number": ({"value": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64()))}, "has the type map<"),
    "bytes for an id": (
        {"entity_id": pa.array([b"u0", b"u1"])},
        "column 'entity_id' has the type binary, wanted is text or an integer",
    ),
    "doubles for an id": ({"entity_id": pa.array([1.0, 2.0])}, "column 'entity_id' has the type double"),
    "booleans for an id": ({"entity_id": pa.array([True, False])}, "column 'entity_id' has the type bool"),
    "UUIDs for an id": (
        {"entity_id": pa.array([b"0" * 16, b"1" * 16], pa.uuid())},
        "column 'entity_id' has the type extension",
    ),
    "integers for a name": ({"feature_name": pa.array([1, 2])}, "column 'feature_name' has the type int64, wanted is text"),
    "doubles for a time": ({"event_timestamp": pa.array([1.5] * ROWS)}, "column 'event_timestamp' has the type double"),
    "clock times": ({"event_timestamp": pa.array([1] * ROWS, pa.time64("us"))}, "has the type time64[us]"),
    "durations": ({"event_timestamp": pa.array([1] * ROWS, pa.duration("us"))}, "has the type duration[us]"),
}

_DAY_US = 1_714_521_600_000_000
OTHERS: dict[str, tuple[Columns, Done]] = {
    "dates": (
        {"event_timestamp": pa.array([_DAY_US // 86_400_000_000] * ROWS, pa.date32())},
        Done([Row(n, f"u{n}", "age", 1.5, _DAY_US) for n in range(ROWS)]),
    ),
    "fractions below a microsecond are cut": (
        {"event_timestamp": pa.array([TIME_US * 1000 + 999] * ROWS, pa.timestamp("ns"))},
        ALL,
    ),
    "a date far away": (
        {"event_timestamp": pa.array([2**30, _DAY_US // 86_400_000_000], pa.date32())},
        Done([Row(1, "u1", "age", 1.5, _DAY_US)], [Reject(0, "bad_time")]),
    ),
    "integer ids": (
        {"entity_id": pa.array([2**64 - 1, 0], pa.uint64())},
        Done([Row(0, str(2**64 - 1), "age", 1.5, TIME_US), Row(1, "0", "age", 1.5, TIME_US)]),
    ),
    "integers for a number": (
        {"value": pa.array([100, None], pa.int16())},
        Done([Row(0, "u0", "age", 100.0, TIME_US), Row(1, "u1", "age", None, TIME_US)]),
    ),
    "a column of nothing for values": (
        {"value": pa.nulls(ROWS)},
        Done([Row(n, f"u{n}", "age", None, TIME_US) for n in range(ROWS)]),
    ),
    "a column of nothing for ids": (
        {"entity_id": pa.nulls(ROWS)},
        Done(rejects=[Reject(n, "missing_field") for n in range(ROWS)]),
    ),
    "a column of nothing for times": (
        {"event_timestamp": pa.nulls(ROWS)},
        Done(rejects=[Reject(n, "missing_field") for n in range(ROWS)]),
    ),
}

_SECOND = TIME_US // 10**6
BAD_FIRST_ROWS: dict[str, tuple[Columns, str]] = {
    "NaN": ({"value": pa.array([float("nan"), 1.5])}, "not_finite"),
    "an infinity": ({"value": pa.array([float("-inf"), 1.5], pa.float32())}, "not_finite"),
    "null in a dictionary": ({"entity_id": pa.array([None, "u1"]).dictionary_encode()}, "missing_field"),
    "a year that Python does not know": ({"event_timestamp": pa.array([10**13, _SECOND], pa.timestamp("s"))}, "bad_time"),
    "the last microsecond": ({"event_timestamp": pa.array([2**63 - 1, TIME_US], pa.timestamp("us"))}, "bad_time"),
    "the first millisecond": (
        {"event_timestamp": pa.array([-(2**63), TIME_US // 1000], pa.timestamp("ms", "UTC"))},
        "bad_time",
    ),
    "before 1970": ({"event_timestamp": pa.array([-1, TIME_US])}, "bad_time"),
    "an unsigned time": ({"event_timestamp": pa.array([2**64 - 1, TIME_US], pa.uint64())}, "wrong_type"),
    "text": ({"entity_id": _undecodable(pa.string(), pa.binary())}, "invalid_utf8"),
    "large text": ({"entity_id": _undecodable(pa.large_string(), pa.large_binary())}, "invalid_utf8"),
    "text in a dictionary": ({"entity_id": _undecodable(pa.string(), pa.binary()).dictionary_encode()}, "invalid_utf8"),
    "a time that is text": ({"event_timestamp": pa.array(["\0", TIME])}, "bad_time"),
    "long text": ({"entity_id": pa.array(["x" * (MAX_RECORD_BYTES + 1), "u1"])}, "too_large"),
    "long views": ({"entity_id": pa.array(["x" * (MAX_RECORD_BYTES + 1), "u1"], pa.string_view())}, "too_large"),
    "long text in a dictionary": (
        {"entity_id": pa.array(["x" * (MAX_RECORD_BYTES + 1), "u1"]).dictionary_encode()},
        "too_large",
    ),
    "long together": (
        {
            "entity_id": pa.array(["x" * 1000, "u1"]),
            "feature_name": pa.array(["x" * 1000, "age"]),
            "event_timestamp": pa.array(["x" * 1000, TIME]),
        },
        "too_large",
    ),
}


def _without_groups() -> bytes:
    sink = io.BytesIO()
    pq.ParquetWriter(sink, pa.table(columns()).schema).close()
    return sink.getvalue()


def _named(*more: str) -> bytes:
    found = columns()
    return parquet(pa.Table.from_arrays([*found.values(), *(pa.array([7] * ROWS) for _ in more)], names=[*found, *more]))


def _changed(content: bytes, at: int, text: bytes) -> bytes:
    return content[:at] + text + content[at + len(text) :]


def _many() -> pa.Table:
    ids = [f"u{n}" for n in range(500)]
    plain: dict[str, Any] = {
        "entity_id": ids,
        "feature_name": ["age"] * 500,
        "value": [1.5] * 500,
        "event_timestamp": [TIME] * 500,
    }
    return pa.table(plain)


_GOOD = parquet(columns())
_RENAMED = pa.table(columns()).rename_columns(["Entity_Id", "feature_name", "value", "event_timestamp"])
_NOISE = bytes(range(256)) * 3
_DAMAGED = Failed("damaged and cannot be read")
FILES: list[tuple[str, bytes, Done | Failed]] = [
    ("no row groups", _without_groups(), Done()),
    ("no rows", parquet(pa.table(columns()).slice(0, 0)), Done()),
    ("many row groups", parquet(_many(), row_group_size=7), Done(good_rows("features", range(500)))),
    ("a column twice", _named("value"), Failed("more than one column 'value'")),
    ("a column without a name", _named(""), ALL),
    ("no such column", parquet({"entity_id": pa.array(["u"])}), Failed("no column 'feature_name', 'value', 'event_timestamp'")),
    ("names in another case", parquet(_RENAMED), Failed("'Entity_Id' looks like 'entity_id'")),
    ("a footer of zeros", _changed(_GOOD, len(_GOOD) - 60, bytes(40)), _DAMAGED),
    ("a footer longer than the file", _changed(_GOOD, len(_GOOD) - 8, b"\xff\xff\xff\x7f"), _DAMAGED),
    ("a page of zeros", _changed(parquet(_many()), 4, bytes(400)), _DAMAGED),
    ("a page of noise", _changed(parquet(_many(), compression="none"), 60, _NOISE), _DAMAGED),
    ("bytes before the footer are gone", _GOOD[:100] + _GOOD[150:], _DAMAGED),
]
