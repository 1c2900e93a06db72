"""The twin of a Kafka topic and of KafkaPartition, in memory, for tests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.config import IngestConfig
from cluster.errors import Refused, Unreachable
from cluster.ingest.resets import gone, made_again
from cluster.records import Batch, Headers, Records
from cluster.stores.letters import fitted, letters_of


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a log; `timestamp` in µs."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: Headers
    timestamp: int


class MemoryTopic:
    """Logs of a topic's partitions. Tests write to it, and take it away with `away = True`."""

    def __init__(self, name: str, partitions: int = 1) -> None:
        self.name = name
        self.away = False
        self.topic_id = f"id-of-{name}"
        self.committed: dict[int, int] = {}
        self._logs: list[list[Message]] = [[] for _ in range(partitions)]
        self._beginnings = [0] * partitions
        self._ends = [0] * partitions

    def append(
        self,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp: int = 1_700_000_000_000_000,
    ) -> int:
        """Add a record and return its offset."""
        offset = self._ends[partition]
        self._logs[partition].append(Message(offset, value, key, headers, timestamp))
        self._ends[partition] = offset + 1
        return offset

    def skip(self, offsets: int, partition: int = 0) -> None:
        """Use up offsets that no reader sees, as control records do."""
        self._ends[partition] += offsets

    def remove_before(self, offset: int, partition: int = 0) -> None:
        """Forget what lies before `offset`, as retention does."""
        self._logs[partition] = [message for message in self._logs[partition] if message.offset >= offset]
        self._beginnings[partition] = offset

    def make_anew(self) -> None:
        """Become another topic of the same name, as when it is deleted and made again."""
        self.topic_id += "'"
        count = len(self._logs)
        self._logs, self._beginnings, self._ends = [[] for _ in range(count)], [0] * count, [0] * count

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset and the one after the last; raise Unreachable while away."""
        if self.away:
            raise Unreachable(f"Kafka topic {self.name} is away: the test took it")
        return self._beginnings[partition], self._ends[partition]

    def since(self, offset: int, partition: int, most: int) -> Sequence[Message]:
        """Return up to `most` records from `offset` on."""
        log = self._logs[partition]
        start = bisect_left(log, offset, key=lambda message: message.offset)
        return log[start : start + most]


class MemoryPartition:
    """A RecordSource on a MemoryTopic. Like the real one, it never waits longer than asked; it never waits at all."""

    def __init__(self, topic: MemoryTopic, partition: int, ingest: IngestConfig) -> None:
        self._topic, self._partition = topic, partition
        self._max_records, self._max_bytes = ingest.batch_records, ingest.batch_bytes
        self._position: int | None = None
        self._identity: str | None = None

    def seek(self, offset: int) -> None:
        """Read next from `offset`."""
        self._position = offset

    def poll(self, timeout_s: float) -> Records | None:  # noqa: ARG002 - the port's signature
        """Return a batch of what is there; None while the topic is away, because Kafka's poll cannot tell either."""
        first = self._position
        if first is None:
            raise Refused(f"{self._topic.name}[{self._partition}]: poll before seek; seek to the ledger's next offset first")
        if self._topic.away:
            return None
        self.check()
        beginning, end = self._topic.bounds(self._partition)
        if not beginning <= first <= end:
            raise gone(self._topic.name, self._partition, first, beginning, end)
        if first == end:
            return None
        messages = self._fitting(self._topic.since(first, self._partition, self._max_records + 1))
        rest = self._topic.since(messages[-1].offset + 1, self._partition, 1) if messages else ()
        self._position = rest[0].offset if rest else end
        return _records(messages, first, self._position)

    def identity(self) -> str | None:
        """Return the topic's id, and read from this one alone."""
        self._topic.bounds(self._partition)
        self._identity = self._topic.topic_id
        return self._identity

    def check(self) -> None:
        """Raise Lost when a test made another topic of it."""
        self._topic.bounds(self._partition)
        if self._identity is not None and self._topic.topic_id != self._identity:
            raise made_again(self._topic.name, self._partition, self._identity, self._topic.topic_id)

    def beginning(self) -> int:
        """Return the first offset that still exists."""
        return self._topic.bounds(self._partition)[0]

    def end(self) -> int:
        """Return the offset after the last record; raise Unreachable while the topic is away."""
        return self._topic.bounds(self._partition)[1]

    def commit(self, next_offset: int) -> None:
        """Remember how far the stores are."""
        self._topic.committed[self._partition] = next_offset

    def close(self) -> None:
        """Have nothing to let go of."""

    def _fitting(self, messages: Sequence[Message]) -> Sequence[Message]:
        size = 0
        for count, message in enumerate(messages[: self._max_records]):
            size += len(message.value or b"")
            if count and size > self._max_bytes:
                return messages[:count]
        return messages[: self._max_records]


class MemoryDeadLetters:
    """A DeadLetters on a MemoryTopic, which takes messages of up to `most_bytes`."""

    trouble = ""

    def __init__(self, topic: MemoryTopic, most_bytes: int = 1_000_000) -> None:
        self._topic, self._most_bytes = topic, most_bytes

    def send(self, batch: Batch) -> None:
        """Add a message for each reject."""
        self._topic.bounds(0)
        for letter in (fitted(letter, self._most_bytes) for letter in letters_of(batch)):
            self._topic.append(letter.value, key=letter.key, headers=letter.all_headers)

    def close(self) -> None:
        """Have nothing to let go of."""


def _records(messages: Sequence[Message], first: int, next_offset: int) -> Records:
    return Records(
        first=first,
        next=next_offset,
        positions=np.array([message.offset for message in messages], np.int64),
        values=[message.value for message in messages],
        timestamps=np.array([message.timestamp for message in messages], np.int64),
        meta=lambda index: (messages[index].key, messages[index].headers),
    )
