"""Feature rows as the text that a Redis socket takes: columns become protocol by Arrow's string kernels.

Not a Python loop over rows, which costs more than everything else in a write (docs/decisions/0004). The keys and the
values of any run of groups are each one contiguous slice of a buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY_PREFIX = "entity:"
TIME_SUFFIX = ":ts"

Ints = NDArray[np.int64]

#: Features whose presence one number tells (newest_wins.lua); bounds also what the script unpacks at once.
_BLOCK = 32
#: Rows in one script call at most (a group has no more than a block): the server answers nobody else meanwhile.
_ROWS_PER_CALL = 2_000

# MessagePack headers by length, taken instead of computed. A double's text has at most 24 bytes, a time's 41.
_VALUE_HEADERS = pa.array([bytes([0xA0 | length]) for length in range(32)], pa.binary())
_TIME_HEADERS = pa.array([bytes([0xD9, length]) for length in range(64)], pa.binary())
_SET_HEADER = 0xCF
_RETRACT = b"""
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1], ARGV[2])
return 1"""


def command(*arguments: bytes) -> bytes:
    """Return one command in protocol text."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)


def pack(rows: pa.Table, entities_per_call: int, sha: bytes) -> Iterator[bytes]:
    """Return `rows` (schema ROWS_SCHEMA) as EVALSHA commands of the script newest_wins.lua, whose hash is `sha`.

    A group is a run of rows of one entity whose features ascend, so it never holds a feature twice, and groups go in
    table order: any table is written right, one in the order of `merge.newest` with the fewest operations.
    """
    if not len(rows):
        return
    groups = _Groups.of(rows.combine_chunks())
    for first, stop in _calls(groups.bounds, entities_per_call):
        yield groups.call(first, stop, sha)


def pack_retraction(row: Mapping[str, Any]) -> bytes:
    """Return a row (of schema ROWS_SCHEMA) as a command that removes the value if its times are those of the row."""
    feature = str(row["feature_name"]).encode()
    times = b":".join(b"%d" % np.datetime64(row[name], "us").astype(np.int64) for name in ("event_timestamp", "created_at"))
    key = (KEY_PREFIX + row["entity_id"]).encode()
    return command(b"EVAL", _RETRACT, b"1", key, feature, feature + TIME_SUFFIX.encode(), times)


@dataclass(frozen=True, slots=True)
class _Slices:
    """A column of byte strings, any run of which can be sent as it is."""

    data: memoryview
    offsets: NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.Array) -> _Slices:
        _, offsets, data = column.buffers()
        return cls(memoryview(data), np.frombuffer(offsets, np.int32, len(column) + 1))

    def run(self, first: int, stop: int) -> memoryview:
        return self.data[self.offsets[first] : self.offsets[stop]]


@dataclass(frozen=True, slots=True)
class _Groups:
    """A table cut into groups: `bounds` are the first rows of each, and the end."""

    bounds: Ints
    names: bytes
    keys: _Slices  # one for each group
    values: _Slices  # one for each row; the first of a group begins with the group's set of features

    @classmethod
    def of(cls, rows: pa.Table) -> _Groups:
        ids, features = rows.column("entity_id").combine_chunks(), rows.column("feature_name").combine_chunks()
        codes = features.indices.to_numpy().astype(np.int64)
        starts = _starts(ids, codes)
        return cls(
            bounds=np.append(starts, len(rows)),
            names=_names(features.dictionary.to_pylist()),
            keys=_Slices.of(_keys(ids.take(pa.array(starts)))),
            values=_Slices.of(_values(rows, _sets(codes, starts))),
        )

    def call(self, first: int, stop: int, sha: bytes) -> bytes:
        """Return the EVALSHA for the groups `[first, stop)`."""
        row, end = int(self.bounds[first]), int(self.bounds[stop])
        count = b"%d" % (stop - first)
        items = 1 + (stop - first) + 2 * (end - row)
        values = self.values.run(row, end)
        return b"".join(
            (
                b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%b\r\n" % (4 + stop - first, sha, len(count), count),
                self.keys.run(first, stop),
                b"$%d\r\n\xdd%b%b" % (5 + len(self.names) + len(values), items.to_bytes(4, "big"), self.names),
                values,
                b"\r\n",
            ),
        )


def _starts(ids: pa.Array, codes: Ints) -> Ints:
    """Return the rows at which a group starts."""
    same_entity = pc.equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    same_block = codes[1:] // _BLOCK == codes[:-1] // _BLOCK
    return np.flatnonzero(np.append(True, ~(same_entity & same_block & (codes[1:] > codes[:-1]))))


def _sets(codes: Ints, starts: Ints) -> pa.Array:
    """Return for each row MessagePack of its group's set of features, empty for all but the first row of a group."""
    bits = np.add.reduceat(np.int64(1) << codes % _BLOCK, starts)
    text = np.empty((len(starts), 9), np.uint8)
    text[:, 0] = _SET_HEADER
    text[:, 1:] = (bits + (codes[starts] // _BLOCK << np.int64(32))).astype(">u8")[:, None].view(np.uint8)
    lengths = np.zeros(len(codes) + 1, np.int32)
    lengths[starts + 1] = 9
    return pa.Array.from_buffers(
        pa.binary(), len(codes), [None, pa.py_buffer(np.cumsum(lengths, dtype=np.int32)), pa.py_buffer(text)]
    )


def _names(names: Sequence[str]) -> bytes:
    encoded = [name.encode() for name in names]
    texts = (b"\xdb%b%b" % (len(name).to_bytes(4, "big"), name) for name in encoded)
    return b"\xdd%b%b" % (len(encoded).to_bytes(4, "big"), b"".join(texts))


def _keys(ids: pa.Array) -> pa.Array:
    """Return the keys as arguments in protocol text."""
    lengths = pc.add(pc.binary_length(ids.cast(pa.binary())), len(KEY_PREFIX))
    return pc.binary_join_element_wise("$", _text(lengths), f"\r\n{KEY_PREFIX}", ids, "\r\n", "")


def _values(rows: pa.Table, sets: pa.Array) -> pa.Array:
    """Return set, value and time of each row in MessagePack."""
    value = _text(rows.column("value").combine_chunks()).fill_null("")
    event, created = (_text(rows.column(name).combine_chunks().cast(pa.int64())) for name in ("event_timestamp", "created_at"))
    time_length = pc.add(pc.add(pc.binary_length(event), pc.binary_length(created)), 1)
    return pc.binary_join_element_wise(
        sets,
        _VALUE_HEADERS.take(pc.binary_length(value)),
        value.cast(pa.binary()),
        _TIME_HEADERS.take(time_length),
        event.cast(pa.binary()),
        b":",
        created.cast(pa.binary()),
        b"",
    )


def _text(numbers: pa.Array) -> pa.Array:
    """Return decimal text; of a double the shortest that reads back as the same double."""
    return numbers.cast(pa.string())


def _calls(bounds: Ints, entities: int) -> Iterator[tuple[int, int]]:
    """Return the groups `[first, stop)` of each call."""
    first, groups = 0, len(bounds) - 1
    while first < groups:
        fitting = int(np.searchsorted(bounds, bounds[first] + _ROWS_PER_CALL, side="right")) - 1
        stop = min(first + entities, fitting, groups)
        yield first, stop
        first = stop
