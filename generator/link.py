"""One producer's way to Kafka: bounded in flight, and built anew when kafka-python's producer has had it.

Nothing is sent twice by us: a message whose answer is lost may be in the log, and only a reader can tell by its id.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaError
from kafka.partitioner.default import murmur2

from cluster.errors import Unreachable
from generator.events import Message
from generator.tally import Sent, Tally

Observer = Callable[[Sent], None]

_BETWEEN_TRIES_S = 0.5
_STUCK_AFTER_S = 15.0
_CLOSE_S = 2.0
_CONTENT_TYPE = ("content-type", b"application/json")
_ERRORS = (KafkaError, OSError, AssertionError, ValueError)  # what kafka-python raises when brokers are away


@dataclass(slots=True)
class _Waiting:
    message: Message
    partition: int
    future: Any
    since: float


class Link:
    """Caller: one producer thread. `observer` is called for each acknowledged message, one at a time over all links."""

    def __init__(self, servers: str, in_flight: int, give_up_s: float, tally: Tally, observe: Observer) -> None:
        self._servers, self._bound, self._give_up_s = servers, in_flight, give_up_s
        self._tally, self._observe = tally, observe
        self._waiting: deque[_Waiting] = deque()
        self._producer: Any = None

    def open(self, topics: Sequence[str]) -> None:
        """Connect; raise Unreachable when no broker answers or a topic does not exist."""
        try:
            self._producer = self._build()
            for topic in topics:
                self._partitions(topic)
        except _ERRORS as error:
            self.close()
            raise Unreachable(
                f"Kafka at {self._servers} does not answer, or lacks one of the topics {', '.join(topics)} ({error}): "
                "start the app with `raytide up`, which creates them, or name other brokers with --bootstrap-servers",
            ) from error

    def send(self, batch: Sequence[Message], stop: threading.Event) -> None:
        """Hand a batch to Kafka's client in one go, after waiting for room; once stopped, it waits no longer than a drain."""
        while len(self._waiting) + len(batch) > self._bound and self._waiting and not stop.is_set():
            self._await_first(0.1)
            self.reap()
        for message in batch:
            self._send(message, stop)

    def reap(self) -> None:
        """Account for what has been answered, in the order of sending, without waiting."""
        broken = False
        while self._waiting and self._waiting[0].future.is_done:
            first = self._waiting.popleft()
            broken |= self._settle(first)
        stuck = bool(self._waiting) and time.monotonic() - self._waiting[0].since > self._give_up_s + _STUCK_AFTER_S
        if broken or stuck:
            self._rebuild()

    def drain(self, seconds: float) -> None:
        """Wait for all answers, and give up what has none after `seconds`."""
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            self._await_first(0.1)
            self.reap()
        self._abandon("no answer before the end")

    def close(self) -> None:
        """Let go of the connection at once; call `drain` before."""
        if self._producer is None:
            return
        sender = self._producer._sender  # noqa: SLF001 - `close` itself waits for what is pending, and raises when that takes long
        sender.force_close()
        sender.join(_CLOSE_S)
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=0)
        self._producer = None

    def _send(self, message: Message, stop: threading.Event) -> None:
        partition = -1
        try:
            if stop.is_set() and self._producer is None:
                raise KafkaConnectionError("stopped while Kafka was away")
            producer = self._connected(stop)
            partitions = self._partitions(message.topic)
            partition = partitions[_hash(message.key) % len(partitions)]
            headers = [("id", message.message_id.encode()), _CONTENT_TYPE]
            future = producer.send(message.topic, message.value, message.key, headers, partition)
        except _ERRORS as error:
            self._tally.sent(message.topic, partition)
            self._tally.failed(message.topic, partition, _name(error))
            self._rebuild()
            return
        self._tally.sent(message.topic, partition)
        self._waiting.append(_Waiting(message, partition, future, time.monotonic()))

    def _settle(self, done: _Waiting) -> bool:
        """Count one answer; say whether it was an error."""
        message, partition = done.message, done.partition
        if error := done.future.exception:
            self._tally.failed(message.topic, partition, _name(error))
            return True
        self._tally.acknowledged(message, partition)
        offset = done.future.value.offset
        self._observe(
            Sent(
                message.topic,
                partition,
                offset,
                message.value,
                message.event,
                message.message_id,
                message.flaw,
                message.duplicate,
            ),
        )
        return False

    def _await_first(self, seconds: float) -> None:
        try:
            self._waiting[0].future.get(timeout=seconds)
        except _ERRORS:
            return  # no answer yet, or an error that `reap` counts

    def _rebuild(self) -> None:
        """Drop the client: after one fatal error kafka-python's idempotent producer fails every later send as well."""
        self.close()
        self._abandon("producer was replaced")
        self._tally.rebuilt()

    def _abandon(self, reason: str) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if first.future.is_done:
                self._settle(first)
            else:
                self._tally.failed(first.message.topic, first.partition, reason)

    def _connected(self, stop: threading.Event) -> Any:
        """Return a producer, building one if needed; when that takes too long, stop the run."""
        deadline = time.monotonic() + self._give_up_s
        while self._producer is None:
            try:
                self._producer = self._build()
            except _ERRORS:
                if time.monotonic() > deadline:
                    stop.set()
                if stop.wait(_BETWEEN_TRIES_S):
                    raise
        return self._producer

    def _build(self) -> Any:
        return KafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            compression_type="zstd",
            linger_ms=5,  # so that the messages of one of our batches share a request
            batch_size=256 * 1024,
            delivery_timeout_ms=int(self._give_up_s * 1000),
            request_timeout_ms=min(5_000, int(self._give_up_s * 1000) // 2),
            max_block_ms=10_000,
            bootstrap_timeout_ms=5_000,
            metadata_max_age_ms=5_000,
            reconnect_backoff_max_ms=1_000,
        )

    def _partitions(self, topic: str) -> list[int]:
        return sorted(self._producer.partitions_for(topic))


@lru_cache(maxsize=100_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def _name(error: BaseException) -> str:
    return type(error).__name__
