"""RecordSource: one suite for the twin and for the real Kafka, then what only a real one can do."""

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from cluster.config import IngestConfig, KafkaConfig
from cluster.errors import Lost, Refused, Unreachable
from cluster.records import Headers, Records
from cluster.stores import kafka_slabs
from cluster.stores.kafka import KafkaPartition, client_options
from cluster.stores.kafka_admin import KafkaAdmin, copies
from cluster.stores.memory_kafka import MemoryPartition, MemoryTopic
from cluster.stores.ports import RecordSource

KAFKA = KafkaConfig(request_timeout_ms=3_000)
HEADERS: Headers = (("id", b"1"), ("content-type", b"application/json"))
TIME = 1_700_000_000_123_000

Send = Callable[[Sequence[bytes | None]], None]


@dataclass
class World:
    """A topic with one partition: `send` adds records of one batch, `open` gives a source on it."""

    send: Send
    open: Callable[[IngestConfig], RecordSource]
    delete: Callable[[], None]
    make_anew: Callable[[], None]
    remove_before: Callable[[int], None]


@pytest.fixture
def memory_world() -> World:
    topic = MemoryTopic("t")

    def send(values: Sequence[bytes | None]) -> None:
        for value in values:
            topic.append(value, key=b"key", headers=HEADERS, timestamp=TIME)

    def delete() -> None:
        topic.away = True

    return World(send, lambda ingest: MemoryPartition(topic, 0, ingest), delete, topic.make_anew, topic.remove_before)


@pytest.fixture
def topic(kafka_bootstrap: str) -> str:
    name = f"records-{uuid.uuid4()}"
    admin = KafkaAdmin(KAFKA, kafka_bootstrap)
    admin.create_topic(name, 1)
    admin.close()
    return name


@pytest.fixture
def real_world(kafka_bootstrap: str, topic: str) -> Iterator[World]:
    sources: list[KafkaPartition] = []

    def open_source(ingest: IngestConfig) -> RecordSource:
        sources.append(KafkaPartition(KAFKA, kafka_bootstrap, topic, 0, ingest))
        return sources[-1]

    admin = KafkaAdminClient(**client_options(KAFKA, kafka_bootstrap))

    def delete() -> None:
        admin.delete_topics([topic])
        while not admin.describe_topics([topic])[0]["error_code"]:
            time.sleep(0.05)  # the broker deletes when it likes, and asking is how one learns of it

    def make_anew() -> None:
        delete()
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        admin.wait_for_topics([topic])

    def remove_before(offset: int) -> None:
        admin.delete_records({TopicPartition(topic, 0): offset})

    yield World(lambda values: send(kafka_bootstrap, topic, values), open_source, delete, make_anew, remove_before)
    for source in sources:
        source.close()
    admin.close()


def send(bootstrap: str, topic: str, values: Sequence[bytes | None], **options: Any) -> None:
    producer = KafkaProducer(**client_options(KAFKA, bootstrap) | {"linger_ms": 50} | options)
    transactional = "transactional_id" in options
    if transactional:
        producer.init_transactions()
        producer.begin_transaction()
    for value in values:
        producer.send(topic, value, key=b"key", headers=list(HEADERS), partition=0, timestamp_ms=TIME // 1000)
    if transactional:
        producer.commit_transaction()
    producer.flush(timeout=10)
    producer.close(timeout=10)


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.stack)])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(f"{request.param}_world")
    return found


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def numbered(count: int) -> list[bytes | None]:
    return [b"value-%d" % number for number in range(count)]


def read_to(source: RecordSource, end: int) -> list[Records]:
    """Poll until `end`; the test's own time limit is the deadline."""
    found: list[Records] = []
    while not found or found[-1].next < end:
        records = source.poll(1.0)
        if records is not None:
            found.append(records)
    return found


def values_of(batches: Sequence[Records]) -> list[bytes | None]:
    return [value for records in batches for value in records.values]


def test_records_come_in_order_and_ranges_join(world: World) -> None:
    source = world.open(IngestConfig())
    world.send(numbered(250))
    world.send(numbered(50))
    source.seek(0)
    batches = read_to(source, 300)
    assert values_of(batches) == numbered(250) + numbered(50)
    assert [records.first for records in batches] == [0, *(records.next for records in batches[:-1])]
    assert [p for records in batches for p in records.positions.tolist()] == list(range(300))
    assert {t for records in batches for t in records.timestamps.tolist()} == {TIME}
    assert source.poll(0.0) is None


def test_reading_goes_on_from_any_offset(world: World) -> None:
    source = world.open(IngestConfig())
    world.send(numbered(20))
    for offset in (13, 0, 19):
        source.seek(offset)
        assert values_of(read_to(source, 20)) == numbered(20)[offset:]
    source.seek(20)
    assert source.poll(0.2) is None


def test_a_seek_forgets_what_was_left_over(world: World) -> None:
    source = world.open(IngestConfig(batch_records=3))
    world.send(numbered(10))
    source.seek(0)
    assert source.poll(5.0) is not None
    source.seek(8)
    assert values_of(read_to(source, 10)) == numbered(10)[8:]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_batch_has_no_more_records_than_allowed_and_nothing_is_lost(world: World, limit: int) -> None:
    source = world.open(IngestConfig(batch_records=limit))
    world.send(numbered(30))
    source.seek(4)
    batches = read_to(source, 30)
    assert max(len(records) for records in batches) <= limit
    assert values_of(batches) == numbered(30)[4:]
    assert [records.first for records in batches] == [4, *(records.next for records in batches[:-1])]


def test_a_batch_is_bounded_in_bytes_but_one_large_record_passes(world: World) -> None:
    source = world.open(IngestConfig(batch_bytes=1500))
    for _ in range(5):
        world.send([b"x" * 1000])
    world.send([b"x" * 5000])
    source.seek(0)
    batches = read_to(source, 6)
    assert [len(records) for records in batches] == [1] * 6


def test_null_values_keys_and_headers_arrive(world: World) -> None:
    source = world.open(IngestConfig())
    world.send([b"a", None, b""])
    source.seek(0)
    (records,) = read_to(source, 3)
    assert records.values == [b"a", None, b""]
    assert [records.meta(index) for index in range(3)] == [(b"key", HEADERS)] * 3


def test_beginning_and_end(world: World) -> None:
    source = world.open(IngestConfig())
    assert (source.beginning(), source.end()) == (0, 0)
    world.send(numbered(3))
    assert (source.beginning(), source.end()) == (0, 3)


def test_an_offset_that_does_not_exist_is_refused_each_time_and_a_seek_helps(world: World) -> None:
    source = world.open(IngestConfig())
    world.send(numbered(3))
    source.seek(50)
    for _ in range(2):
        with pytest.raises(Lost, match=r"is 50, but Kafka's log ends at 3.*--to latest"):
            source.poll(5.0)
    source.seek(1)
    assert values_of(read_to(source, 3)) == numbered(3)[1:]


def test_records_of_another_topic_of_the_same_name_are_never_returned(world: World) -> None:
    source = world.open(IngestConfig())
    world.send(numbered(3))
    first = source.identity()
    source.seek(0)
    read_to(source, 3)
    source.check()
    world.make_anew()
    world.send(numbered(9))
    with pytest.raises(Lost, match=r"was deleted and made again.*--to earliest"):
        read_to(source, 9)
    with pytest.raises(Lost):
        source.check()
    assert source.identity() != first
    source.seek(0)
    assert values_of(read_to(source, 9)) == numbered(9)


def test_a_topic_that_is_gone_is_away(world: World) -> None:
    source = world.open(IngestConfig())
    source.identity()
    world.delete()
    for call in (source.check, source.identity):
        with pytest.raises(Unreachable):
            call()


def test_what_retention_removed_is_counted(world: World) -> None:
    source = world.open(IngestConfig())
    world.send(numbered(5))
    world.remove_before(3)
    source.seek(1)
    with pytest.raises(Lost, match=r"offsets \[1, 3\) are missing, 2 in all"):
        read_to(source, 5)
    source.seek(source.beginning())
    assert values_of(read_to(source, 5)) == numbered(5)[3:]


def test_polling_before_a_seek_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="seek"):
        world.open(IngestConfig()).poll(0.0)


def test_telling_the_group_never_fails(world: World) -> None:
    source = world.open(IngestConfig())
    source.commit(0)
    source.commit(5)
    source.close()


def test_the_twin_can_be_away() -> None:
    topic = MemoryTopic("t")
    source = MemoryPartition(topic, 0, IngestConfig())
    topic.append(b"a")
    topic.away = True
    source.seek(0)
    assert source.poll(0.0) is None
    with pytest.raises(Unreachable):
        source.end()
    topic.away = False
    assert source.poll(0.0) is not None


def test_the_twin_covers_gaps_and_retention() -> None:
    topic = MemoryTopic("t")
    source = MemoryPartition(topic, 0, IngestConfig())
    topic.append(b"a")
    topic.skip(2)
    topic.append(b"b")
    topic.skip(1)
    source.seek(0)
    records = source.poll(0.0)
    assert records is not None
    assert (records.first, records.next, records.positions.tolist()) == (0, 5, [0, 3])
    topic.remove_before(3)
    source.seek(0)
    with pytest.raises(Refused):
        source.poll(0.0)


@pytest.mark.stack
@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_compressed_batches(kafka_bootstrap: str, topic: str, real_world: World, codec: str) -> None:
    send(kafka_bootstrap, topic, numbered(500), compression_type=codec)
    source = real_world.open(IngestConfig(batch_records=120))
    source.seek(250)
    assert values_of(read_to(source, 500)) == numbered(500)[250:]


@pytest.mark.stack
def test_transactions_show_what_was_committed_and_cover_every_offset(
    kafka_bootstrap: str, topic: str, real_world: World
) -> None:
    send(kafka_bootstrap, topic, numbered(3), transactional_id=f"a-{topic}")
    aborting = KafkaProducer(**client_options(KAFKA, kafka_bootstrap), transactional_id=f"b-{topic}")
    aborting.init_transactions()
    aborting.begin_transaction()
    aborting.send(topic, b"never seen", partition=0).get(timeout=10)
    aborting.abort_transaction()
    aborting.close(timeout=10)
    send(kafka_bootstrap, topic, [b"last"], transactional_id=f"a-{topic}")
    source = real_world.open(IngestConfig())
    source.seek(0)
    end = source.end()
    batches = read_to(source, end)
    assert end == 8  # 3 records, a marker, an aborted one, a marker, a record, a marker
    assert values_of(batches) == [*numbered(3), b"last"]
    assert batches[-1].next == end
    source.seek(7)
    (only_marker,) = read_to(source, end)
    assert (only_marker.first, only_marker.next, len(only_marker)) == (7, 8, 0)


@pytest.mark.stack
def test_the_stock_reader_gives_the_same_records(
    kafka_bootstrap: str, topic: str, real_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka_bootstrap, topic, [*numbered(100), None], compression_type="zstd")
    fast = real_world.open(IngestConfig(batch_records=40))
    monkeypatch.setattr(kafka_slabs, "SUPPORTED_VERSION", "another")
    stock = real_world.open(IngestConfig(batch_records=40))
    found = []
    for source in (fast, stock):
        source.seek(3)
        batches = read_to(source, 101)
        metas = [records.meta(index) for records in batches for index in range(len(records))]
        found.append((values_of(batches), metas, [t for r in batches for t in r.timestamps.tolist()]))
    assert found[0] == found[1]


@pytest.mark.stack
def test_group_offsets_are_seen_by_lag_tools(topic: str, real_world: World) -> None:
    real_world.send(numbered(3))
    source = real_world.open(IngestConfig())
    source.seek(0)
    source.commit(3)
    source.close()
    another = real_world.open(IngestConfig())
    assert another._consumer.committed(TopicPartition(topic, 0)) == 3  # type: ignore[attr-defined] # a KafkaPartition


@pytest.mark.stack
def test_topics_are_made_once_and_counted(kafka_bootstrap: str, topic: str) -> None:
    admin = KafkaAdmin(KAFKA, kafka_bootstrap)
    missing = f"missing-{uuid.uuid4()}"
    assert admin.partitions_of(missing) is None
    assert admin.partitions_of(topic) == 1
    admin.create_topic(topic, 5)
    assert admin.partitions_of(topic) == 1
    send(kafka_bootstrap, topic, numbered(3))
    assert admin.ends([topic, missing]) == {(topic, 0): 3}
    admin.close()


@pytest.mark.stack
def test_more_replicas_than_brokers_are_refused(kafka_bootstrap: str) -> None:
    admin = KafkaAdmin(KAFKA.model_copy(update={"replication_factor": 3}), kafka_bootstrap)
    with pytest.raises(Refused):
        admin.create_topic(f"missing-{uuid.uuid4()}", 1)
    admin.close()


def test_copies_are_what_brokers_do_by_default_or_one_more_than_must_have_a_record() -> None:
    assert copies(KAFKA) == {}
    assert copies(KafkaConfig(replication_factor=3))["configs"] == {"min.insync.replicas": "2"}
    assert copies(KafkaConfig(replication_factor=1))["configs"] == {"min.insync.replicas": "1"}
    assert copies(KafkaConfig(replication_factor=3, min_insync_replicas=1))["configs"] == {"min.insync.replicas": "1"}


def test_nobody_listening_is_said_at_once_and_leaves_no_thread(unused_port: int) -> None:
    before = set(threading.enumerate())
    address = f"127.0.0.1:{unused_port}"
    with pytest.raises(Unreachable, match=address):
        KafkaPartition(KAFKA, address, "t", 0, IngestConfig())
    with pytest.raises(Unreachable, match=address):
        KafkaAdmin(KAFKA, address)
    assert set(threading.enumerate()) == before


@pytest.mark.stack
def test_a_listener_of_another_kind_is_unreachable_with_what_to_check(kafka_bootstrap: str) -> None:
    before = {thread for thread in threading.enumerate() if thread.is_alive()}
    impatient = KafkaConfig(request_timeout_ms=1_500, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN")
    with pytest.raises(Unreachable, match="security_protocol"):
        KafkaPartition(impatient, kafka_bootstrap, "t", 0, IngestConfig())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
