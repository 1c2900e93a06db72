"""What KafkaPartition does when its consumer fails half way: nothing that was polled is skipped."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import CorruptRecordError, KafkaTimeoutError, TopicAuthorizationFailedError
from pydantic import SecretStr

from cluster.config import IngestConfig, KafkaConfig
from cluster.errors import Misconfigured, RaytideError, Refused, Unreachable
from cluster.stores import kafka
from cluster.stores.kafka import KafkaPartition, client_options
from cluster.stores.kafka_batches import Slab, fences_of
from cluster.stores.kafka_client import connect

TP = TopicPartition("t", 0)


def slab(base: int, values: list[bytes]) -> Slab:
    bodies = [bytes([0, 0, 2 * index, 1, 2 * len(value)]) + value + b"\0" for index, value in enumerate(values)]
    body = b"".join(bytes([2 * len(content)]) + content for content in bodies)
    return Slab(base, base + len(values), 1_700_000_000_000, True, body, fences_of(body, len(values)))


class ScriptedConsumer:
    """Answers polls from a log of slabs at its position, unless the script has an error for this call."""

    def __init__(self, log: list[Slab]) -> None:
        self._log = log
        self._position = 0
        self.script: deque[Exception | None] = deque()
        self._fetcher = type("Fetcher", (), {})()
        self._manager = None

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [TP]

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        self._position = offset

    def position(self, _tp: TopicPartition, timeout_ms: int) -> int:
        assert timeout_ms == 0
        return self._position

    def poll(self, _timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Slab]]:
        if self.script and (error := self.script.popleft()):
            raise error
        assert max_records > 0
        found = [piece for piece in self._log if piece.next_offset > self._position][:1]
        if found:
            self._position = found[0].next_offset
        return {TP: found} if found else {}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Slab]], tuple[KafkaPartition, ScriptedConsumer]]:
    def opened(log: list[Slab]) -> tuple[KafkaPartition, ScriptedConsumer]:
        consumer = ScriptedConsumer(log)
        monkeypatch.setattr(kafka, "connect", lambda *_: consumer)
        return KafkaPartition(KafkaConfig(), "h:1", "t", 0, IngestConfig()), consumer

    return opened


LOG = [slab(0, [b"a", b"b"]), slab(2, [b"c"]), slab(3, [b"d", b"e"])]


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (KafkaTimeoutError("slow"), Unreachable),
        (CorruptRecordError("checksum"), Refused),
        (TopicAuthorizationFailedError("t"), Refused),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_was_polled_before_an_error_is_read_again(
    opened: Any, error: Exception, ours: type[RaytideError], after: int
) -> None:
    partition, consumer = opened(LOG)
    consumer.script.extend([*[None] * after, error])
    partition.seek(1)
    with pytest.raises(ours):
        partition.poll(0.0)
    records = partition.poll(0.0)
    assert (records.first, records.next, records.values) == (1, 5, [b"b", b"c", b"d", b"e"])
    assert partition.poll(0.0) is None


def test_a_batch_that_contradicts_itself_is_refused_each_time(opened: Any) -> None:
    broken = replace(LOG[1], body=LOG[1].body[:-3] + b"\x7e\x7e\x7e")
    partition, _ = opened([LOG[0], broken])
    partition.seek(0)
    for _ in range(2):
        with pytest.raises(Refused, match="damaged"):
            partition.poll(0.0)


def test_the_password_is_in_the_options_and_nowhere_else() -> None:
    config = KafkaConfig(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=SecretStr("pw"))
    options = client_options(config, "a:1, b:2")
    assert options["sasl_plain_password"] == "pw"  # noqa: S105 - an example
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert "pw" not in repr(config)


@pytest.mark.parametrize("address", ["nohost", "host:port", "host:"])
def test_an_address_without_a_port_is_a_mistake_in_the_configuration(address: str) -> None:
    with pytest.raises(Misconfigured, match="bootstrap_servers"):
        connect(dict, address, {})
