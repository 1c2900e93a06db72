"""Kafka's record batches as columns, without an object or a function call for each record.

A record batch (format 2) is a row of records, each `length, attributes, timestamp delta, offset delta, key, value,
headers`, with variable-length integers. Only the lengths have to be read one after another; with every record's start
known, the other integers of all records of all batches are decoded together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cluster.ingest.times import MAX_MICROS
from cluster.records import Headers, Records

Ints = NDArray[np.int64]

_VARINT_BITS = 64


class CorruptBatch(ValueError):
    """The bytes are not a record batch."""


@dataclass(frozen=True, slots=True)
class Slab:
    """The records of one record batch, not yet taken apart.

    `body` holds them, `fences` the positions in `body` where each begins, and at the end `len(body)`. Record times are
    `timestamp` plus the record's delta if `deltas`, in ms; a topic with LogAppendTime has one for all. `next_offset`
    is past the batch, also when compaction took its last records.
    """

    base_offset: int
    next_offset: int
    timestamp: int
    deltas: bool
    body: bytes
    fences: Sequence[int]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.fences) - 1

    @property
    def offset(self) -> int:
        """Return the last offset that the batch accounts for; kafka-python skips what lies before its position."""
        return self.next_offset - 1

    def since(self, offset: int) -> Slab | None:
        """Return the records from `offset` on, or None if there are none: a fetch begins with a whole batch."""
        if self.base_offset >= offset:
            return self
        _, offsets, _, _ = _columns(np.frombuffer(self.body, np.uint8), np.array(self.fences[:-1], np.int64))
        passed = int(np.searchsorted(offsets, offset - self.base_offset))
        if passed == len(self):
            return None
        return self.split(passed)[1] if passed else self

    def split(self, records: int) -> tuple[Slab, Slab]:
        """Return the first `records` and the others, each with one or more."""
        cut = self.fences[records]
        tail = self._with(self.body[cut:], [fence - cut for fence in self.fences[records:]], self.next_offset)
        _, offsets, _, _ = _columns(np.frombuffer(tail.body, np.uint8), np.array([0]))
        return self._with(self.body[:cut], self.fences[: records + 1], self.base_offset + int(offsets[0])), tail

    def _with(self, body: bytes, fences: Sequence[int], next_offset: int) -> Slab:
        return Slab(self.base_offset, next_offset, self.timestamp, self.deltas, body, fences)


def fences_of(body: bytes, records: int) -> list[int]:
    """Return where each of `records` begins in `body`, and its end; raise CorruptBatch if they do not fill it."""
    fences = [0]
    add = fences.append
    position = 0
    try:
        for _ in range(records):
            # Inlined for lengths of one and two bytes: this loop is all the Python that a record costs here. A length
            # is never negative, so its zigzag form is twice the length.
            low = body[position]
            if low < 0x80:  # noqa: PLR2004 - the bit that says that more bytes follow
                position += 1 + (low >> 1)
            else:
                high = body[position + 1]
                if high < 0x80:  # noqa: PLR2004
                    position += 2 + ((low & 0x7F | high << 7) >> 1)
                else:
                    length, position = varint(body, position)
                    position += length
            add(position)
    except IndexError:
        raise CorruptBatch("a record reaches over the end of its batch") from None
    if position != len(body):
        raise CorruptBatch("the records do not end where their batch does")
    return fences


def to_records(slabs: Sequence[Slab], first: int, next_offset: int, received_us: int) -> Records:
    """Return the records of `slabs` as the range `[first, next_offset)`.

    A record without a time, or with one that Raytide cannot hold, gets `received_us`. Raise CorruptBatch.
    """
    body = slabs[0].body if len(slabs) == 1 else b"".join(slab.body for slab in slabs)
    heads = _heads(slabs)
    counts = [len(slab) for slab in slabs]
    deltas, offsets, begins, lengths = _columns(np.frombuffer(body, np.uint8), heads)
    offsets += np.repeat([slab.base_offset for slab in slabs], counts)
    millis = np.repeat([slab.timestamp for slab in slabs], counts) + deltas * np.repeat([slab.deltas for slab in slabs], counts)
    return Records(
        first, next_offset, offsets, _values(body, begins, lengths), _micros(millis, received_us), SlabMeta(body, heads)
    )


def _heads(slabs: Sequence[Slab]) -> Ints:
    """Return where each record begins in the slabs' joined bodies."""
    counts = [len(slab) for slab in slabs]
    before = np.cumsum([0, *(len(slab.body) for slab in slabs[:-1])])
    within = np.fromiter(chain.from_iterable(slab.fences[:-1] for slab in slabs), np.int64, sum(counts))
    heads: Ints = within + np.repeat(before, counts)
    return heads


def _columns(buffer: NDArray[np.uint8], heads: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return timestamp deltas, offset deltas, and begins and lengths of values; a length of -1 is a null."""
    ends = np.append(heads[1:], len(buffer))
    try:
        _, at = varints(buffer, heads)
        deltas, at = varints(buffer, at + 1)  # one byte of attributes, which mean nothing yet
        offsets, at = varints(buffer, at)
        keys, at = varints(buffer, at)
        lengths, begins = varints(buffer, at + np.maximum(keys, 0))
    except IndexError:
        raise CorruptBatch("a record's fields reach over the end of its batch") from None
    if len(heads) and (begins + np.maximum(lengths, 0) >= ends).any():  # one byte or more of headers follows
        raise CorruptBatch("a record's fields reach over its end")
    return deltas, offsets, begins, lengths


def varints(buffer: NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """Return the zigzag varints at the positions `at`, and the positions after them."""
    byte = buffer[at]
    value = (byte & 0x7F).astype(np.uint64)
    after = at + 1
    rows = np.flatnonzero(byte & 0x80)
    shift = 7
    while len(rows):
        if shift >= _VARINT_BITS:
            raise CorruptBatch("a number has more than 64 bits")
        byte = buffer[after[rows]]
        value[rows] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
        after[rows] += 1
        rows = rows[(byte & 0x80) != 0]
        shift += 7
    return (value >> np.uint64(1)).astype(np.int64) ^ -(value & np.uint64(1)).astype(np.int64), after


def varint(buffer: bytes, at: int) -> tuple[int, int]:
    """Return the zigzag varint at the position `at`, and the position after it."""
    value = shift = 0
    while True:
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at


def _values(body: bytes, begins: Ints, lengths: Ints) -> list[bytes | None]:
    values: list[bytes | None] = [
        body[begin:end] for begin, end in zip(begins.tolist(), (begins + lengths).tolist(), strict=True)
    ]
    for index in np.flatnonzero(lengths < 0).tolist():
        values[index] = None
    return values


def _micros(millis: Ints, received_us: int) -> Ints:
    known = (millis >= 0) & (millis < MAX_MICROS // 1000)
    return millis * 1000 if known.all() else np.where(known, millis, 0) * 1000 + np.where(known, 0, received_us)


@dataclass(frozen=True, slots=True)
class SlabMeta:
    """Reads key and headers of a record again, from its bytes; only for records that are rejected."""

    body: bytes
    heads: Ints

    def __call__(self, index: int) -> tuple[bytes | None, Headers]:
        """Return key and headers. A header's null value becomes empty; a name that is not UTF-8 is repaired."""
        _, at = varint(self.body, int(self.heads[index]))
        _, at = varint(self.body, at + 1)
        _, at = varint(self.body, at)
        key, at = self._bytes(at)
        _, at = self._bytes(at)
        count, at = varint(self.body, at)
        headers = []
        for _ in range(count):
            name, at = self._bytes(at)
            value, at = self._bytes(at)
            headers.append(((name or b"").decode("utf-8", "replace"), value or b""))
        return key, tuple(headers)

    def _bytes(self, at: int) -> tuple[bytes | None, int]:
        length, at = varint(self.body, at)
        if length < 0:
            return None, at
        return self.body[at : at + length], at + length
