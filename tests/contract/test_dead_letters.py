"""DeadLetters: one suite for the twin and for the real Kafka, then what only a real one can do."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError, UnknownError

from cluster.config import IngestConfig, KafkaConfig
from cluster.errors import RetryLater, Unreachable
from cluster.ingest.batch import rejects_table
from cluster.records import ROWS_SCHEMA, Batch, Headers, Origin, Reason, Rejected
from cluster.stack import manager, state
from cluster.stack.process import free_port
from cluster.stores.kafka import KafkaPartition, client_options
from cluster.stores.kafka_admin import KafkaAdmin
from cluster.stores.kafka_dead_letters import KafkaDeadLetters, open_dead_letters
from cluster.stores.memory_kafka import MemoryDeadLetters, MemoryPartition, MemoryTopic
from cluster.stores.ports import DeadLetters, RecordSource

KAFKA = KafkaConfig(request_timeout_ms=3_000)
Seen = tuple[bytes | None, bytes | None, Headers]  # key, value, headers


@dataclass
class World:
    """The dead letters of `topic`; `open` gives a source on where they go."""

    topic: str
    letters: DeadLetters
    open: Callable[[], RecordSource]

    def seen(self) -> list[Seen]:
        source = self.open()
        source.seek(0)
        found: list[Seen] = []
        while source.end() > len(found):
            if (records := source.poll(1.0)) is not None:
                found += [(records.meta(n)[0], value, records.meta(n)[1]) for n, value in enumerate(records.values)]
        source.close()
        return found


@pytest.fixture
def unused_port() -> int:
    return free_port()


@pytest.fixture
def topic() -> str:
    return f"letters-{uuid.uuid4()}"


@pytest.fixture
def memory_world(topic: str) -> World:
    there = MemoryTopic(f"{topic}.dead-letters")
    return World(topic, MemoryDeadLetters(there), lambda: MemoryPartition(there, 0, IngestConfig()))


@pytest.fixture
def real_world(kafka_bootstrap: str, topic: str) -> Iterator[World]:
    letters = KafkaDeadLetters(KAFKA, kafka_bootstrap, topic)

    def open_source() -> RecordSource:
        return KafkaPartition(KAFKA, kafka_bootstrap, f"{topic}.dead-letters", 0, IngestConfig())

    yield World(topic, letters, open_source)
    letters.close()


@pytest.fixture(params=["memory_world", "real_world"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found


def batch(topic: str, rejected: Sequence[Rejected]) -> Batch:
    return Batch(Origin.stream(topic, 3, 7), 1, 0, 100, 0, ROWS_SCHEMA.empty_table(), rejects_table(rejected))


def bad(position: int, value: bytes | None, key: bytes | None = b"k", headers: Headers = (("id", b"1"),)) -> Rejected:
    return Rejected(position, Reason.BAD_TIME, "'timestamp' is no time", value, key, headers)


def ours(topic: str, position: int, truncated: str = "") -> Headers:
    fields = {
        "source-topic": topic,
        "source-partition": "3",
        "source-offset": str(position),
        "reason": "bad_time",
        "detail": "'timestamp' is no time",
        "registry-version": "7",
    }
    return tuple((name, text.encode()) for name, text in (fields | ({"truncated": truncated} if truncated else {})).items())


def test_a_reject_keeps_key_value_and_headers_and_says_where_it_came_from(world: World) -> None:
    world.letters.send(batch(world.topic, [bad(5, b"{\xff"), bad(9, b"", headers=())]))
    assert world.seen() == [
        (b"k", b"{\xff", (("id", b"1"), *ours(world.topic, 5))),
        (b"k", b"", ours(world.topic, 9)),
    ]
    assert world.letters.trouble == ""


def test_a_message_with_neither_key_nor_value(world: World) -> None:
    world.letters.send(batch(world.topic, [bad(1, None, None, ())]))
    assert world.seen() == [(None, None, ours(world.topic, 1))]


def test_a_repeat_repeats(world: World) -> None:
    for _ in range(2):
        world.letters.send(batch(world.topic, [bad(5, b"x")]))
    assert [headers[-4] for _, _, headers in world.seen()] == [("source-offset", b"5")] * 2


def test_what_is_too_large_loses_its_headers_then_its_value_and_harms_no_neighbour(world: World) -> None:
    rejected = [
        bad(1, b"v" * 900_000, headers=(("h", b"h" * 200_000),)),
        bad(2, b"v" * 1_040_000),
        bad(3, b"v" * 1_040_000, b"k" * 1_040_000),
        bad(4, b"small"),
    ]
    world.letters.send(batch(world.topic, rejected))
    assert world.seen() == [
        (b"k", b"v" * 900_000, ours(world.topic, 1, "headers")),
        (b"k", None, ours(world.topic, 2, "headers,value")),
        (None, None, ours(world.topic, 3, "headers,value,key")),
        (b"k", b"small", (("id", b"1"), *ours(world.topic, 4))),
    ]


def test_the_twin_can_be_away(memory_world: World) -> None:
    there = MemoryTopic("gone")
    there.away = True
    with pytest.raises(Unreachable):
        MemoryDeadLetters(there).send(batch(memory_world.topic, [bad(1, b"x")]))


def test_many_rejects_at_once(real_world: World) -> None:
    real_world.letters.send(batch(real_world.topic, [bad(n, b"v" * 500) for n in range(5_000)]))
    offsets = [int(dict(headers)["source-offset"]) for _, _, headers in real_world.seen()]
    assert offsets == list(range(5_000))


def test_a_broker_that_takes_less_gets_less(real_world: World, kafka_bootstrap: str) -> None:
    admin = KafkaAdminClient(**client_options(KAFKA, kafka_bootstrap))
    wanted = {"num_partitions": 1, "replication_factor": 1, "configs": {"max.message.bytes": "20000"}}
    admin.create_topics({f"{real_world.topic}.dead-letters": wanted})
    admin.close()
    for _ in range(2):  # a producer that was refused once must not be used again
        real_world.letters.send(batch(real_world.topic, [bad(1, b"v" * 100_000), bad(2, b"small")]))
    assert real_world.letters.trouble == ""
    distinct = {(value, dict(headers)["source-offset"]) for _, value, headers in real_world.seen()}
    assert distinct == {(None, b"1"), (b"small", b"2")}


def test_a_topic_that_may_not_be_made_is_told_and_stops_nothing(kafka_bootstrap: str, topic: str) -> None:
    letters = KafkaDeadLetters(KAFKA.model_copy(update={"create_topics": False}), kafka_bootstrap, topic)
    letters.send(batch(topic, [bad(1, b"x")]))
    assert letters.trouble.startswith(f"rejected records are in quarantine, but not in topic {topic}.dead-letters: ")
    assert "kafka.create_topics is off" in letters.trouble
    admin = KafkaAdmin(KAFKA, kafka_bootstrap)
    assert admin.partitions_of(f"{topic}.dead-letters") is None
    admin.create_topic(f"{topic}.dead-letters", 1)
    admin.close()
    letters._again_at = 0.0  # ten seconds later
    letters.send(batch(topic, [bad(1, b"x")]))
    assert letters.trouble == ""
    letters.close()


def test_a_name_that_kafka_does_not_take_stops_nothing(kafka_bootstrap: str) -> None:
    letters = KafkaDeadLetters(KAFKA, kafka_bootstrap, "t" * 245)
    letters.send(batch("t" * 245, [bad(1, b"x")]))
    assert "not in topic" in letters.trouble


def test_nobody_listening(unused_port: int, topic: str) -> None:
    letters = KafkaDeadLetters(KAFKA, f"127.0.0.1:{unused_port}", topic)
    with pytest.raises(Unreachable):
        letters.send(batch(topic, [bad(1, b"x")]))
    letters.close()


def test_none_are_wanted(unused_port: int, topic: str) -> None:
    off = KAFKA.model_copy(update={"dead_letters": False})
    letters = open_dead_letters(off, f"127.0.0.1:{unused_port}", topic)
    letters.send(batch(topic, [bad(1, b"x")]))
    letters.close()


@pytest.mark.parametrize(
    ("error", "is_for_people"),
    [(TopicAuthorizationFailedError(), True), (UnknownError(), False), (KafkaTimeoutError(), False)],
)
def test_only_what_a_person_must_mend_lets_the_stream_go_on(
    monkeypatch: pytest.MonkeyPatch, topic: str, error: KafkaError, *, is_for_people: bool
) -> None:
    letters = KafkaDeadLetters(KAFKA, "nobody:1", topic)

    def fail(_letters: object) -> None:
        raise error

    monkeypatch.setattr(letters, "_deliver_fitted", fail)
    with contextlib.nullcontext() if is_for_people else pytest.raises(RetryLater):
        letters.send(batch(topic, [bad(1, b"x")]))
    assert bool(letters.trouble) is is_for_people


def test_a_broker_that_freezes_is_away_and_nothing_is_left_over(tmp_path_factory: pytest.TempPathFactory, topic: str) -> None:
    folder = tmp_path_factory.mktemp("frozen")
    before = threading.active_count()
    server = manager.up(folder, kafka_port=0, services={manager.KAFKA})
    (broker,) = (service.process.pid for service in state.read(folder))
    letters = KafkaDeadLetters(KafkaConfig(request_timeout_ms=1_000), str(server.bootstrap_servers), topic)
    try:
        letters.send(batch(topic, [bad(1, b"x")]))
        assert letters.trouble == ""
        freeze(broker)
        for _ in range(2):  # with a producer that was connected, and with none
            with pytest.raises(Unreachable):
                letters.send(batch(topic, [bad(2, b"x")]))
        os.kill(broker, signal.SIGCONT)
        eventually(letters, batch(topic, [bad(2, b"x")]))
    finally:
        os.kill(broker, signal.SIGCONT)
        letters.close()
        manager.down(folder)
    assert threading.active_count() == before


def freeze(process: int) -> None:
    """Stop a process, and return when the last of its threads stands still."""
    os.kill(process, signal.SIGSTOP)
    states = Path(f"/proc/{process}/task")
    while not all(text.rpartition(") ")[2].startswith("T") for text in map(stat_of, states.iterdir())):
        pass


def stat_of(task: Path) -> str:
    try:
        return (task / "stat").read_text()
    except FileNotFoundError:  # a thread that ended
        return " () T"


def eventually(letters: DeadLetters, sent: Batch) -> None:
    """Send until the broker, which has just woken up, answers."""
    for _ in range(10):
        with contextlib.suppress(Unreachable):
            letters.send(sent)
            return
    letters.send(sent)
