"""The slab reader hands out exactly what kafka-python's own reader does, from the same bytes."""

import pickle
import struct
from dataclasses import dataclass, field
from typing import Any

import kafka
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from cluster.records import Records
from cluster.stores import kafka_slabs
from cluster.stores.kafka_batches import CorruptBatch
from cluster.stores.kafka_slabs import SUPPORTED_VERSION, SlabReader, SlabRecords, StockReader, install

TP = TopicPartition("topic", 0)
RECEIVED = 1_777_000_000_000_000
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
TRANSACTIONAL, CONTROL, LOG_APPEND_TIME = 0x10, 0x20, 0x08

small_bytes = st.one_of(st.none(), st.binary(max_size=6), st.integers(55, 9000).map(lambda size: b"x" * size))
headers = st.lists(st.tuples(st.text(max_size=4), st.one_of(st.none(), st.binary(max_size=4))), max_size=2)
times = st.one_of(st.integers(1_700_000_000_000, 1_700_000_100_000), st.sampled_from([-1, 0, 2**62]))


@dataclass
class Batch:
    """A record batch of the current format, and what a broker may have made of it."""

    records: list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]
    codec: int = 0
    gap_before: int = 0  # compaction took whole batches
    gaps: list[int] = field(default_factory=list)  # and single records, before each of these
    tail: int = 0  # and the last ones
    append_time: bool = False
    producer: int = -1
    control: bytes | None = None

    def build(self, base: int) -> bytes:
        attributes = LOG_APPEND_TIME if self.append_time else 0
        transactional = self.producer >= 0
        builder = MemoryRecordsBuilder(
            2, self.codec, 1 << 30, 0, transactional, self.producer, 0 if transactional else -1, 0 if transactional else -1
        )
        for index, (time, key, value, some_headers) in enumerate(self.records):
            builder.skip(self.gaps[index] if index < len(self.gaps) else 0)
            builder.append(time, self.control or key, value, some_headers)
        builder.close()
        return seal(bytearray(builder.buffer()), base, attributes | (CONTROL if self.control else 0), self.tail)


def seal(buffer: bytearray, base: int, attributes: int, tail: int) -> bytes:
    """Set what the broker sets, and the checksum over it."""
    old_attributes, last_delta = struct.unpack_from(">hi", buffer, 21)
    struct.pack_into(">q", buffer, 0, base)
    struct.pack_into(">hi", buffer, 21, old_attributes | attributes, last_delta + tail)
    struct.pack_into(">I", buffer, 17, calc_crc32c(memoryview(buffer)[21:]))
    return bytes(buffer)


batches = st.builds(
    Batch,
    records=st.lists(st.tuples(times, small_bytes, small_bytes, headers), min_size=1, max_size=5),
    codec=st.sampled_from(list(CODECS.values())),
    gap_before=st.integers(0, 2),
    gaps=st.lists(st.integers(0, 70), max_size=3),
    tail=st.integers(0, 2),
    append_time=st.booleans(),
    producer=st.sampled_from([-1, -1, 7, 8]),
)
markers = st.builds(
    Batch,
    records=st.just([(1_700_000_000_000, None, b"\0\0\0\0\0\0", [])]),
    producer=st.sampled_from([7, 8]),
    control=st.sampled_from([b"\0\0\0\0", b"\0\0\0\1"]),
)


@dataclass(frozen=True)
class Aborted:
    producer_id: int
    first_offset: int


def log_of(parts: list[Batch]) -> tuple[bytes, list[int], int]:
    """Return the bytes, the base offset of each batch, and the end of a log that begins at offset 100."""
    data, bases, offset = b"", [], 100
    for part in parts:
        offset += part.gap_before
        built = part.build(offset)
        bases.append(offset)
        data += built
        offset = DefaultRecordBatch(built).next_offset
    return data, bases, offset


def partition_records(kind: Any, data: bytes, first: int, aborted: list[Aborted]) -> Any:
    return kind(
        first,
        TP,
        MemoryRecords(data),
        isolation_level=IsolationLevel.READ_COMMITTED,
        aborted_transactions=aborted,
    )


def read(kind: Any, data: bytes, first: int = 100, aborted: list[Aborted] | None = None) -> tuple[Records, int]:
    reader: Any = StockReader() if kind is Fetcher.PartitionRecords else SlabReader()
    part = partition_records(kind, data, first, aborted or [])
    pieces = [piece for piece in (reader.since(piece, first) for piece in part.take()) if piece is not None]
    assert not part  # drained
    if not pieces:
        return StockReader().records([], first, first, RECEIVED), part.next_fetch_offset
    return reader.records(pieces, first, part.next_fetch_offset, RECEIVED), part.next_fetch_offset


def content(records: Records) -> list[Any]:
    rows = zip(records.positions.tolist(), records.values, records.timestamps.tolist(), strict=True)
    return [(*row, *records.meta(index)) for index, row in enumerate(rows)]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(batches, batches, markers), max_size=6), st.data())
def test_slabs_hold_what_the_stock_reader_returns(parts: list[Batch], data: st.DataObject) -> None:
    log, bases, end = log_of(parts)
    first = data.draw(st.integers(100, max(100, end - 1)), label="fetch offset")
    aborted = [Aborted(data.draw(st.sampled_from([7, 8])), base) for base in bases if data.draw(st.booleans())]
    expected, expected_next = read(Fetcher.PartitionRecords, log, first, aborted)
    found, found_next = read(SlabRecords, log, first, aborted)
    assert content(found) == content(expected)
    assert found_next == expected_next


@settings(max_examples=40, deadline=None)
@given(batches, st.data())
def test_a_slab_that_is_split_loses_nothing(batch: Batch, data: st.DataObject) -> None:
    (slab,) = partition_records(SlabRecords, batch.build(100), 100, []).take()
    count = len(slab)
    if count == 1:
        return
    head, tail = slab.split(data.draw(st.integers(1, count - 1)))
    whole = SlabReader().records([slab], 100, slab.next_offset, RECEIVED)
    first = SlabReader().records([head], 100, head.next_offset, RECEIVED)
    rest = SlabReader().records([tail], head.next_offset, tail.next_offset, RECEIVED)
    assert content(first) + content(rest) == content(whole)
    assert first.positions[-1] < head.next_offset <= rest.positions[0]
    assert tail.next_offset == slab.next_offset
    assert len(head) + len(tail) == count


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1), st.sampled_from([0, 1]), st.lists(st.tuples(times, small_bytes, small_bytes), min_size=1, max_size=4))
def test_formats_before_kafka_0_11_read_alike(magic: int, codec: int, rows: list[Any]) -> None:
    builder = MemoryRecordsBuilder(magic, codec, 1 << 30, offset=100)
    for time, key, value in rows:
        builder.append(time if magic else None, key, value)
    builder.close()
    log = bytes(builder.buffer())
    first = 0 if codec else 100  # the wrapper of a compressed set gets its offsets from a broker only
    expected, expected_next = read(Fetcher.PartitionRecords, log, first)
    found, found_next = read(SlabRecords, log, first)
    if magic == 0:  # had no times; the stock reader's None is not comparable
        assert set(found.timestamps.tolist()) == {RECEIVED}
    assert content(found) == content(expected)
    assert found_next == expected_next


@settings(max_examples=60, deadline=None)
@given(st.lists(batches, min_size=1, max_size=3), st.data())
def test_a_damaged_batch_is_refused_after_its_good_predecessors_and_never_hangs(
    parts: list[Batch], data: st.DataObject
) -> None:
    log, _, _ = log_of(parts)
    last = len(log) - len(parts[-1].build(0))
    at = data.draw(st.integers(last + 21, len(log) - 1), label="damaged byte")
    damaged = log[:at] + bytes([log[at] ^ 0x40]) + log[at + 1 :]
    part = partition_records(SlabRecords, damaged, 100, [])
    if len(parts) == 1:
        with pytest.raises(CorruptRecordError):
            part.take()
    else:
        assert len(part.take()) == len(parts) - 1
    assert not part  # drained, so that the consumer fetches again instead of asking this one for ever


@pytest.mark.parametrize(
    "body", [b"", b"\x02", b"\x80", b"\x06\0\0\0", b"\x06\0\0\0\0\0\0\0", b"\x08\0\0\0\x80", b"\x0a\0\0\0\xff\xff\xff"]
)
def test_records_that_do_not_fit_their_batch_are_refused(body: bytes) -> None:
    buffer = bytearray(Batch([(0, None, None, [])]).build(100))[:61] + body
    struct.pack_into(">i", buffer, 8, len(buffer) - 12)
    log = seal(buffer, 100, 0, 0)
    with pytest.raises((CorruptRecordError, CorruptBatch)):
        read(SlabRecords, log)


def test_records_of_slabs_pickle_with_their_keys_and_headers() -> None:
    records, _ = read(SlabRecords, Batch([(5, b"k", b"v", [("id", b"1")])]).build(100))
    again = pickle.loads(pickle.dumps(records))  # noqa: S301 - our own bytes
    assert content(again) == content(records) == [(100, b"v", 5000, b"k", (("id", b"1"),))]


def test_a_header_name_that_is_not_utf_8_does_not_stop_the_partition() -> None:
    log = Batch([(0, None, b"v", [("\xff\xff", b"1")])]).build(100).replace("\xff\xff".encode(), b"\xff\xff\xff\xff")
    records, _ = read(SlabRecords, seal(bytearray(log), 100, 0, 0))
    assert records.meta(0) == (None, (("�" * 4, b"1"),))


class FakeConsumer:
    def __init__(self) -> None:
        self._fetcher = type("Fetcher", (), {"PartitionRecords": None})()


def test_this_version_of_kafka_python_is_the_known_one() -> None:
    consumer = FakeConsumer()
    assert kafka.__version__ == SUPPORTED_VERSION
    assert isinstance(install(consumer), SlabReader)
    assert consumer._fetcher.PartitionRecords is SlabRecords


def test_with_another_version_the_stock_reader_is_used_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kafka, "__version__", "3.0.13")
    kafka_slabs._warn_once.cache_clear()
    consumers = [FakeConsumer(), FakeConsumer()]
    assert all(isinstance(install(consumer), StockReader) for consumer in consumers)
    assert all(consumer._fetcher.PartitionRecords is None for consumer in consumers)
    assert capsys.readouterr().out.count("slab reader off") == 1


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(95, 400))
def test_since_drops_what_was_read_before_and_nothing_else(batch: Batch, offset: int) -> None:
    (slab,) = partition_records(SlabRecords, batch.build(100), 100, []).take()
    whole = SlabReader().records([slab], 100, slab.next_offset, RECEIVED)
    rest = slab.since(offset)
    kept = [] if rest is None else content(SlabReader().records([rest], offset, slab.next_offset, RECEIVED))
    assert kept == [row for row in content(whole) if row[0] >= offset]
