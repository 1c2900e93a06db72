"""Topics that come later, and that grow, while the app runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from tests.fault.world import World, eventually

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

TOPIC, OTHER = "raytide.features", "raytide.orders"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = {"RAYTIDE_KAFKA__CREATE_TOPICS": "false"}
    with World(tmp_path_factory.mktemp("topics") / "app", settings=settings).running() as running:
        yield running


def states(world: World) -> list[tuple[str, int, str]]:
    return [(p.topic, p.partition, p.state) for p in world.client.status().partitions]


def send(world: World, entity: str, partition: int) -> None:
    record = {
        "entity_id": entity,
        "feature_name": "account_balance",
        "value": 1.0,
        "validated_at": datetime.now(UTC).isoformat(),
    }
    producer = KafkaProducer(bootstrap_servers=world.bootstrap, acks="all")
    producer.send(TOPIC, json.dumps(record).encode(), partition=partition)
    producer.flush(timeout=30)
    producer.close()


def arrived(world: World, entity: str) -> None:
    eventually(lambda: world.sql(f"SELECT 1 FROM features WHERE entity_id = '{entity}'"), f"{entity} is in history", 40)


def test_a_topic_is_waited_for_and_its_new_partitions_are_read(world: World) -> None:
    assert states(world) == [(TOPIC, 0, "WAITING"), (OTHER, 0, "WAITING")]
    notes = {p.note for p in world.client.status().partitions}
    assert f"topic {TOPIC} does not exist (yet): create it, or set kafka.create_topics" in notes

    admin = KafkaAdminClient(bootstrap_servers=world.bootstrap)
    admin.create_topics({TOPIC: {"num_partitions": 1}})
    running = [(TOPIC, 0, "RUNNING"), (OTHER, 0, "WAITING")]
    eventually(lambda: sorted(states(world)) == sorted(running), "the one that came is read", 40)
    send(world, "early", 0)
    arrived(world, "early")

    admin.create_partitions({TOPIC: 3})
    eventually(lambda: (TOPIC, 2, "RUNNING") in states(world), "new partitions are read", 40)
    send(world, "late", 2)
    arrived(world, "late")
    admin.close()
    assert world.client.verify(wait_s=20)["ok"]
