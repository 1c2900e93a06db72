"""The dead-letter topic of one source, written by one partition actor when it has something to write."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)
from kafka.serializer import Serializer

from cluster.config import KafkaConfig
from cluster.errors import Misconfigured, Refused, RetryLater
from cluster.records import Batch
from cluster.stores.kafka_admin import KafkaAdmin
from cluster.stores.kafka_client import client_options, connect, kafka_errors
from cluster.stores.letters import Letter, fitted, letters_of, topic_of
from cluster.stores.ports import DeadLetters, NoDeadLetters

#: What a broker with default settings takes.
MOST_BYTES = 1_000_000
#: Below this a message without key, value and headers of its own does not fit, and the broker's limit is of no use.
LEAST_BYTES = 2_000
BATCH_BYTES = 64 * 1024
#: What is sent before the next wait for acknowledgements: a slow broker gets its time for each.
BYTES_AT_ONCE = 1_000_000
#: How long nothing is sent after something that only a person can mend.
PATIENCE_S = 10.0
CLOSE_S = 2.0

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
#: What does not pass by itself. Whatever else a broker refuses may, and the topic is to be complete.
_FOR_PEOPLE = (
    AuthorizationError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConfigurationError,
    PolicyViolationError,
    *_TOO_LARGE,
)


def open_dead_letters(kafka: KafkaConfig, bootstrap: str, topic: str) -> DeadLetters:
    """Return where rejects of `topic` go, as the configuration wants it; connects to nobody yet."""
    return KafkaDeadLetters(kafka, bootstrap, topic) if kafka.dead_letters else NoDeadLetters()


class KafkaDeadLetters:
    """A DeadLetters on kafka-python. Caller: one thread at a time. Without rejects it costs nothing.

    A producer that failed once is not used again: some of its errors stay with it for good, and it may hang.
    """

    def __init__(self, kafka: KafkaConfig, bootstrap: str, topic: str) -> None:
        self._kafka, self._bootstrap, self._topic = kafka, bootstrap, topic_of(topic)
        self._most_bytes = MOST_BYTES
        self._producer: Any | None = None
        self._is_there = False
        self._trouble, self._again_at = "", 0.0
        self._log = structlog.get_logger().bind(topic=self._topic)

    @property
    def trouble(self) -> str:
        """See DeadLetters."""
        return self._trouble

    def send(self, batch: Batch) -> None:
        """See DeadLetters."""
        if self._trouble and time.monotonic() < self._again_at:
            return
        try:
            for some in _some_at_once(letters_of(batch)):
                self._deliver(some)
        except RetryLater:
            raise
        except (Refused, Misconfigured) as error:
            if isinstance(error.__cause__, KafkaError) and not isinstance(error.__cause__, _FOR_PEOPLE):
                raise RetryLater(f"topic {self._topic}: {error}") from error
            self._trouble = f"rejected records are in quarantine, but not in topic {self._topic}: {error}"
            self._again_at = time.monotonic() + PATIENCE_S
            self._log.warning("dead_letters_not_sent", rejects=batch.rejects.num_rows, cause=str(error))
        else:
            self._trouble = ""

    def close(self) -> None:
        """Let go of the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer._sender.force_close()  # noqa: SLF001 - `close` alone waits for what cannot be sent
            with suppress(KafkaError):
                producer.close(timeout=CLOSE_S)

    def _deliver(self, letters: Sequence[Letter]) -> None:
        """Return when these letters are acknowledged. A broker that takes less than we thought gets smaller ones."""
        with kafka_errors(self._bootstrap):
            while True:
                try:
                    self._deliver_fitted([fitted(letter, self._most_bytes) for letter in letters])
                except _TOO_LARGE:
                    self.close()
                    if self._most_bytes <= LEAST_BYTES:
                        raise
                    self._most_bytes //= 2
                except BaseException as error:
                    self._is_there = self._is_there and not isinstance(error, UnknownTopicOrPartitionError)
                    self.close()
                    raise
                else:
                    return

    def _deliver_fitted(self, letters: Sequence[Letter]) -> None:
        producer = self._ready()
        sent = [producer.send(self._topic, (x.value,), key=x.key, headers=list(x.all_headers)) for x in letters]
        deadline = time.monotonic() + 2 * self._kafka.request_timeout_ms / 1000
        for future in sent:
            future.get(max(0.0, deadline - time.monotonic()))

    def _ready(self) -> Any:
        if not self._is_there:
            self._ensure_topic()
            self._is_there = True
        if self._producer is None:
            self._producer = connect(KafkaProducer, self._bootstrap, _producer_options(self._kafka, self._bootstrap))
        return self._producer

    def _ensure_topic(self) -> None:
        admin = KafkaAdmin(self._kafka, self._bootstrap)
        try:
            if admin.partitions_of(self._topic) is not None:
                return
            if not self._kafka.create_topics:
                raise Refused(
                    f"it does not exist, and kafka.create_topics is off: create it (one partition is enough), or set "
                    f"kafka.dead_letters to false; it is looked for again every {PATIENCE_S:.0f} s",
                )
            admin.create_topic(self._topic, 1)
        finally:
            admin.close()


def _some_at_once(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    some: list[Letter] = []
    size = 0
    for letter in letters:
        some.append(letter)
        size += letter.nbytes
        if size >= BYTES_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


class _Unboxed(Serializer):  # type: ignore[misc] # kafka-python has no types
    """Takes a value out of its tuple: kafka-python refuses messages with neither key nor value, Kafka does not."""

    @classmethod
    def serialize(cls, _topic: str, _headers: Any, data: tuple[bytes | None]) -> bytes | None:
        """Return the value."""
        return data[0]


def _producer_options(kafka: KafkaConfig, bootstrap: str) -> dict[str, Any]:
    return client_options(kafka, bootstrap) | {
        "acks": "all",
        "enable_idempotence": False,  # readers must expect repeats anyway; this needs one permission less
        "value_serializer": _Unboxed(),
        "allow_auto_create_topics": False,
        "max_request_size": MOST_BYTES,
        "batch_size": BATCH_BYTES,
        "max_block_ms": kafka.request_timeout_ms,
        "delivery_timeout_ms": kafka.request_timeout_ms + 1_000,
        "metrics_enabled": False,
    }
