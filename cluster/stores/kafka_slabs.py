"""Lets kafka-python hand out whole record batches instead of one object for each record.

It replaces a private class of one exact version: see docs/decisions/0003-slab-reader.md. With any other version the
stock reader is used, slower and with the same result.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import kafka
import numpy as np
import structlog
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from cluster.ingest.times import MAX_MICROS
from cluster.records import Headers, Records
from cluster.stores.kafka_batches import CorruptBatch, Slab, fences_of, to_records

SUPPORTED_VERSION = "3.0.12"

_CURRENT_FORMAT = 2


class Reader(Protocol):
    """How to handle what the consumer's `poll` returns: pieces of one or more records."""

    def size(self, piece: Any, /) -> tuple[int, int]:
        """Return a piece's records and bytes."""

    def since(self, piece: Any, offset: int, /) -> Any | None:
        """Return what of a piece lies at `offset` or after it, or None."""

    def split(self, piece: Any, records: int, /) -> tuple[Any, Any]:
        """Return the first `records` of a piece, and the others."""

    def next_offset(self, piece: Any, /) -> int:
        """Return the offset past a piece."""

    def records(self, pieces: Sequence[Any], first: int, next_offset: int, received_us: int, /) -> Records:
        """Return the records of `pieces` as the range `[first, next_offset)`."""


def install(consumer: Any) -> Reader:
    """Make `consumer.poll` return slabs, if this version of kafka-python is the known one; return how to read them."""
    if kafka.__version__ != SUPPORTED_VERSION:
        _warn_once(kafka.__version__)
        return StockReader()
    consumer._fetcher.PartitionRecords = SlabRecords  # noqa: SLF001 - there is no public way
    return SlabReader()


@cache
def _warn_once(version: str) -> None:
    structlog.get_logger(__name__).warning(
        "slab reader off: Kafka is read record by record, at a third of the speed",
        kafka_python=version,
        wanted=SUPPORTED_VERSION,
    )


class SlabReader:
    """A `Reader` of slabs."""

    def size(self, piece: Slab) -> tuple[int, int]:
        """Count keys and headers as bytes, too."""
        return len(piece), len(piece.body)

    def since(self, piece: Slab, offset: int) -> Slab | None:
        """See Slab.since."""
        return piece.since(offset)

    def split(self, piece: Slab, records: int) -> tuple[Slab, Slab]:
        """See Slab.split."""
        return piece.split(records)

    def next_offset(self, piece: Slab) -> int:
        """Cover what compaction took from the end of the batch."""
        return piece.next_offset

    def records(self, pieces: Sequence[Slab], first: int, next_offset: int, received_us: int) -> Records:
        """See kafka_batches.to_records."""
        return to_records(pieces, first, next_offset, received_us)


class StockReader:
    """A `Reader` of kafka-python's own records, for versions whose inside we do not know."""

    def size(self, piece: Any) -> tuple[int, int]:
        """Count one record, and the bytes of its value."""
        return 1, len(piece.value or b"")

    def since(self, piece: Any, offset: int) -> Any | None:
        """Return the record or None."""
        return piece if piece.offset >= offset else None

    def split(self, piece: Any, records: int) -> tuple[Any, Any]:
        """Never called: a batch always holds one record."""
        raise NotImplementedError(piece, records)

    def next_offset(self, piece: Any) -> int:
        """Return the offset after this record."""
        return int(piece.offset) + 1

    def records(self, pieces: Sequence[Any], first: int, next_offset: int, received_us: int) -> Records:
        """Return the same as SlabReader would."""
        return Records(
            first=first,
            next=next_offset,
            positions=np.array([piece.offset for piece in pieces], np.int64),
            values=[piece.value for piece in pieces],
            timestamps=np.array([_micros(piece.timestamp, received_us) for piece in pieces], np.int64),
            meta=StockMeta([(piece.key, tuple((n, v or b"") for n, v in piece.headers)) for piece in pieces]),
        )


def _micros(millis: int | None, received_us: int) -> int:
    return millis * 1000 if millis is not None and 0 <= millis < MAX_MICROS // 1000 else received_us


@dataclass(frozen=True, slots=True)
class StockMeta:
    """Keys and headers as kafka-python parsed them."""

    found: Sequence[tuple[bytes | None, Headers]]

    def __call__(self, index: int) -> tuple[bytes | None, Headers]:
        """Return key and headers of a record."""
        return self.found[index]


class SlabRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python has no types
    """kafka-python's class for one partition's part of a fetch, which yields slabs.

    The base class takes from the iterator, skips what lies before the position, and knows aborted transactions.
    """

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Slab]:
        try:
            while (batch := records.next_batch()) is not None:
                batch = self._checked(tp, batch)
                self.leader_epoch = batch.leader_epoch
                self.next_fetch_offset = batch.next_offset
                if self._is_for_readers(batch):
                    slab = _slab(batch)
                    self.records_read += len(slab)
                    self.bytes_read += len(slab.body)
                    yield slab
        except Exception:
            # Without this the base class would take from the finished iterator for ever.
            self.drain()
            raise
        self.drain()

    def _checked(self, tp: Any, batch: Any) -> Any:
        """Return the batch in the current format; raise CorruptRecordError when a checksum is wrong."""
        if self.check_crcs and not batch.validate_crc():
            raise CorruptRecordError(f"record batch of {tp} at offset {batch.base_offset} fails its checksum")
        return batch if batch.magic >= _CURRENT_FORMAT else _reencoded(batch, check_crcs=self.check_crcs)

    def _is_for_readers(self, batch: Any) -> bool:
        """Return whether the batch is data, and not of a transaction that was aborted. Call once, in batch order."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if batch.is_control_batch and batch.records_count and self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return False
        return not batch.is_control_batch


def _slab(batch: Any) -> Slab:
    append_time = batch.timestamp_type == batch.LOG_APPEND_TIME
    batch._maybe_uncompress()  # noqa: SLF001
    body = bytes(memoryview(batch._buffer)[batch._pos :])  # noqa: SLF001
    try:
        fences = fences_of(body, batch.records_count)
    except CorruptBatch as error:
        raise CorruptRecordError(f"record batch at offset {batch.base_offset}: {error}") from error
    return Slab(
        base_offset=batch.base_offset,
        next_offset=batch.next_offset,
        timestamp=batch.max_timestamp if append_time else batch.first_timestamp,
        deltas=not append_time,
        body=body,
        fences=fences,
    )


def _reencoded(batch: Any, *, check_crcs: bool) -> Any:
    """Return a batch of a format before Kafka 0.11, as topics of that time still hold them, in the current format."""
    records = list(batch)
    if check_crcs and not all(record.validate_crc() for record in records):
        raise CorruptRecordError(f"a record at or after offset {records[0].offset} fails its checksum")
    base = records[0].offset
    builder = DefaultRecordBatchBuilder(
        magic=_CURRENT_FORMAT,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=sys.maxsize,
    )
    for record in records:
        timestamp = -1 if record.timestamp is None else record.timestamp
        builder.append(record.offset - base, timestamp, record.key, record.value, record.headers)
    buffer = builder.build()
    struct.pack_into(">q", buffer, 0, base)  # the builder leaves the base offset to the broker
    return DefaultRecordBatch(buffer)
