"""Offsets that no longer exist, on real parts: retention passed them, and the topic was deleted and made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from cluster.errors import Refused
from cluster.resets import ResetRequest
from cluster.status import PartitionReport
from tests.fault.world import World, eventually

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

TOPIC = "raytide.features"
NOW = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("lost offsets") / "app").running() as running:
        yield running


def send(world: World, life: str, first: int, count: int, partition: int = 0) -> None:
    producer = KafkaProducer(bootstrap_servers=world.bootstrap, acks="all")
    for n in range(first, first + count):
        fields = {
            "entity_id": f"{life}_{n}",
            "feature_name": "account_balance",
            "value": n,
            "validated_at": (NOW + timedelta(microseconds=n)).isoformat(),
        }
        producer.send(TOPIC, json.dumps(fields).encode(), key=b"k", partition=partition)
    producer.flush(timeout=30)
    producer.close()


def admin(world: World) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=world.bootstrap)


def first_partition(world: World) -> PartitionReport:
    return next(p for p in world.client.status().partitions if (p.topic, p.partition) == (TOPIC, 0))


def halted(world: World) -> str:
    def look() -> str:
        found = first_partition(world)
        return found.note if found.state == "HALTED" else ""

    return str(eventually(look, "the partition halts", 40, every=0.3))


def is_at(world: World, offset: int) -> None:
    wanted = f"SELECT 1 FROM partitions WHERE topic = '{TOPIC}' AND \"partition\" = 0 AND next_offset = {offset}"
    eventually(lambda: world.sql(wanted), f"offset {offset} is committed", 40, every=0.2)


def committed(world: World, life: str, records: int) -> int:
    """Send some, and return the offset after them once they are in history."""
    send(world, life, 0, records)
    eventually(lambda: count(world, life) == records, "they are in history", 40)
    return int(world.sql(f"SELECT next_offset FROM partitions WHERE topic = '{TOPIC}' AND \"partition\" = 0")[0]["next_offset"])


def count(world: World, life: str) -> int:
    return int(world.sql(f"SELECT count(*) AS n FROM features WHERE entity_id LIKE '{life}_%'")[0]["n"])


def test_retention_passes_the_stored_offset(world: World) -> None:
    start = committed(world, "old", 100)
    done = world.raytide("partitions", "reset", TOPIC, "0", "--to", "latest", "--yes")
    assert "nothing declared lost" in done.stdout, "it is at the end"
    world.raytide("down")
    send(world, "old", 100, 50)
    client = admin(world)
    client.delete_records({TopicPartition(TOPIC, 0): start + 30})
    client.close()
    world.app_up()

    note = halted(world)
    assert f"offsets [{start}, {start + 30}) are missing, 30 in all" in note
    assert f"raytide partitions reset {TOPIC} 0 --to earliest" in note
    for request, message in (
        (ResetRequest(TOPIC, 0, str(start + 20), "me"), f"offset {start + 20} does not exist"),
        (ResetRequest("raytide.feature", 0, "latest", "me"), "did you mean 'raytide.features'"),
        (ResetRequest(TOPIC, 99, "latest", "me"), "has no partition 99"),
    ):
        with pytest.raises(Refused, match=message):
            world.client.reset_partition(request)
    asked = world.raytide("partitions", "reset", TOPIC, "0", "--to", "earliest", check=False)
    assert "--yes" in asked.stderr

    reset = ("partitions", "reset", TOPIC, "0", "--to", "earliest", "--yes", "--by", "me", "--json")
    answer = json.loads(world.raytide(*reset).stdout)
    assert (answer["previous"], answer["next"]) == (start, start + 30)
    is_at(world, start + 50)
    report = world.client.verify(wait_s=20)
    assert report["ok"]
    assert (start, start + 30, 30, "me") in {
        (d["first"], d["next"], d["offsets"], d["declared_by"]) for d in report["declared"]
    }
    assert "nothing lost but the 30 offsets that were declared" in world.raytide("verify").stdout
    assert count(world, "old") == 120


def test_a_topic_made_again_with_more_records_halts_before_its_middle(world: World) -> None:
    ended = committed(world, "before", 20)
    before = sorted(p.partition for p in world.client.status().partitions if p.topic == TOPIC)
    client = admin(world)
    client.delete_topics([TOPIC])
    eventually(lambda: client.describe_topics([TOPIC])[0]["error_code"], "the topic is gone", 30)
    eventually(lambda: "no such topic" in first_partition(world).note, "status says that it is gone", 40, every=0.3)
    assert client.describe_topics([TOPIC])[0]["error_code"], "nobody made it again meanwhile"
    client.create_topics({TOPIC: {"num_partitions": len(before) + 1, "replication_factor": 1}})
    client.wait_for_topics([TOPIC])
    client.close()
    send(world, "new", 0, 400)
    send(world, "more", 0, 10, partition=len(before))

    assert "was deleted and made again" in halted(world)
    is_at(world, ended)
    assert count(world, "new") == 0
    assert world.redis().exists("entity:new_200") == 0
    eventually(lambda: count(world, "more") == 10, "a partition that was not there before is read from its beginning", 40)
    eventually(lambda: [p.partition for p in world.client.status().partitions if p.state == "HALTED"] == before, "all halt", 40)

    for number in before:
        world.client.reset_partition(ResetRequest(TOPIC, number, "earliest", "me"))
    is_at(world, 400)
    assert count(world, "new") == 400
    report = world.client.verify(wait_s=20)
    assert report["ok"]
    assert {(d["partition"], d["first"], d["next"]) for d in report["declared"]} >= {(0, ended, None)}
    assert world.client.get_online_features(["account_balance"], ["new_200"]).to_dict()["account_balance"] == [200.0]
