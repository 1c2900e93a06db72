"""Which topic of a name it is: Kafka gives each a random id (KIP-516) and forgets it with the topic."""

from __future__ import annotations

import uuid
from typing import Any

from kafka import TopicPartition
from kafka.errors import NoError, for_code
from kafka.protocol.metadata import MetadataRequest

from cluster.errors import Unreachable

UNKNOWN_TOPIC = 3
NO_PARTITION = "{}[{}]: there is no such topic or partition (any more): what was read stays; create it, or see who deleted it"


class TopicIdentity:
    """Asks about one partition's topic through a consumer's connections.

    kafka-python fetches by name, so a fetch cannot tell whose records it brings. An answer that was asked for after a
    fetch can: a broker that serves a new topic's records knows its id before.
    """

    def __init__(self, consumer: Any, partition: TopicPartition) -> None:
        self._manager, self._partition = consumer._manager, partition  # noqa: SLF001 - there is no public way

    def read(self) -> str | None:
        """Ask the partition's leader; return None when this broker gives no ids. Errors are kafka-python's, or Unreachable."""
        topic, partition = self._partition
        [found] = self._manager.run(self._ask).topics
        numbers = {p.partition_index for p in found.partitions}
        if found.error_code == UNKNOWN_TOPIC or (numbers and partition not in numbers):
            raise Unreachable(NO_PARTITION.format(topic, partition))
        error = for_code(found.error_code)
        if error is not NoError and not numbers:
            raise error(topic)
        return id_text(found.topic_id)

    async def _ask(self) -> Any:
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=self._partition.topic)],
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
        )
        return await self._manager.send(request, self._beside_the_leader())

    def _beside_the_leader(self) -> str | None:
        """Return the node of a second connection to the leader; on the first, a request waits for the fetch before it."""
        cluster = self._manager.cluster
        leader = cluster.broker_metadata(cluster.leader_for_partition(self._partition))
        if leader is None:
            return None
        node = f"identity-{leader.node_id}"
        # The way in which kafka-python itself has a second connection to a broker: its group coordinator's.
        cluster._coordinator_brokers[node] = type(leader)(node, leader.host, leader.port, leader.rack)  # noqa: SLF001
        return node


def id_text(topic_id: uuid.UUID | str | None) -> str | None:
    """Return an id as kafka-python gives it as text, or None for that of a broker that has none."""
    return str(topic_id) if topic_id and uuid.UUID(str(topic_id)).int else None
