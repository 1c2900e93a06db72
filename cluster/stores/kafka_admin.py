"""Topics and their ends, for the supervisor and for verify."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import TopicAlreadyExistsError, for_code
from kafka.protocol.consumer import IsolationLevel, OffsetSpec

from cluster.config import KafkaConfig
from cluster.stores.kafka_client import client_options, connect, kafka_errors
from cluster.stores.kafka_identity import UNKNOWN_TOPIC, id_text

NO_ERROR = 0


def copies(kafka: KafkaConfig) -> dict[str, Any]:
    """Return what to ask for a new topic, so that what was acknowledged outlives the broker that leads; {}: brokers know."""
    if kafka.replication_factor is None:
        return {}
    in_sync = kafka.min_insync_replicas or max(1, kafka.replication_factor - 1)
    return {"replication_factor": kafka.replication_factor, "configs": {"min.insync.replicas": str(in_sync)}}


class KafkaAdmin:
    """Looks at topics and makes missing ones. Not for records. Every method raises Unreachable when Kafka is away."""

    def __init__(self, kafka: KafkaConfig, bootstrap: str) -> None:
        self._bootstrap, self._timeout_ms, self._copies = bootstrap, kafka.request_timeout_ms, copies(kafka)
        self._client: Any = connect(KafkaAdminClient, bootstrap, client_options(kafka, bootstrap))

    def partitions_of(self, topic: str) -> int | None:
        """Return how many partitions a topic has, or None if there is no such topic."""
        found = self._describe(topic)
        return len(found["partitions"]) if found else None

    def identity(self, topic: str) -> str | None:
        """Return the id of a topic, or None if there is no such topic or the broker gives no ids."""
        found = self._describe(topic)
        return id_text(found["topic_id"]) if found else None

    def create_topic(self, name: str, partitions: int) -> None:
        """Create a topic and wait until its partitions have leaders; one that exists stays as it is."""
        wanted = {name: {"num_partitions": partitions, **self._copies}}
        with kafka_errors(self._bootstrap):
            with suppress(TopicAlreadyExistsError):
                self._client.create_topics(wanted, timeout_ms=self._timeout_ms)
            self._client.wait_for_topics([name], timeout_ms=self._timeout_ms)

    def ends(self, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """Return the offset after the last committed record of each partition of those `topics` that exist."""
        counts = {topic: self.partitions_of(topic) or 0 for topic in topics}
        return self._offsets([TopicPartition(t, p) for t, count in counts.items() for p in range(count)], OffsetSpec.LATEST)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition that exists, and the one after the last committed record."""
        at, wanted = (topic, partition), [TopicPartition(topic, partition)]
        return self._offsets(wanted, OffsetSpec.EARLIEST)[at], self._offsets(wanted, OffsetSpec.LATEST)[at]

    def _describe(self, topic: str) -> Any:
        with kafka_errors(self._bootstrap):
            (found,) = self._client.describe_topics([topic])
            if found["error_code"] == UNKNOWN_TOPIC:
                return None
            if found["error_code"] != NO_ERROR:
                raise for_code(found["error_code"])(topic)
        return found

    def _offsets(self, partitions: Sequence[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        wanted = dict.fromkeys(partitions, which)
        with kafka_errors(self._bootstrap):
            found = self._client.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED, self._timeout_ms)
        return {(tp.topic, tp.partition): found[tp].offset for tp in wanted}

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
