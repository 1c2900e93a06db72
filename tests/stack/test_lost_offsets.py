"""Offsets that no longer exist, on real parts: retention passed them, and the topic was deleted and made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from cluster.status import PartitionReport
from tests.fault.world import World, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TOPIC = "raytide.features"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("lost offsets") / "app").running() as running:
        yield running


def send(world: World, life: str, first: int, count: int) -> None:
    producer = KafkaProducer(bootstrap_servers=world.bootstrap, acks="all")
    for n in range(first, first + count):
        fields = {
            "entity_id": f"{life}_{n}",
            "feature_name": "account_balance",
            "value": n,
            "validated_at": f"2026-01-01T00:00:00.{n:06}Z",
        }
        producer.send(TOPIC, json.dumps(fields).encode(), key=b"k", partition=0)
    producer.flush(timeout=30)
    producer.close()


def admin(world: World) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=world.bootstrap)


def partition(world: World) -> PartitionReport:
    return next(p for p in world.client.status().partitions if (p.topic, p.partition) == (TOPIC, 0))


def halted(world: World) -> str:
    def look() -> str:
        found = partition(world)
        return found.note if found.state == "HALTED" else ""

    return str(eventually(look, "the partition halts", 40, every=0.3))


def is_at(world: World, offset: int) -> None:
    wanted = f"SELECT 1 FROM partitions WHERE topic = '{TOPIC}' AND \"partition\" = 0 AND next_offset = {offset}"
    eventually(lambda: world.sql(wanted), f"offset {offset} is committed", 40, every=0.2)


def verified(world: World) -> Any:
    return json.loads(world.raytide("verify", "--wait", "30", "--json").stdout)


def test_retention_passes_the_stored_offset(world: World) -> None:
    send(world, "old", 0, 100)
    is_at(world, 100)
    done = world.raytide("partitions", "reset", TOPIC, "0", "--to", "latest", "--yes")
    assert "nothing declared lost" in done.stdout, "it is at the end"
    world.raytide("down")
    send(world, "old", 100, 50)
    client = admin(world)
    client.delete_records({TopicPartition(TOPIC, 0): 130})
    client.close()
    world.app_up()

    note = halted(world)
    assert "offsets [100, 130) are missing, 30 in all" in note
    assert f"raytide partitions reset {TOPIC} 0 --to earliest" in note
    for arguments, message in (
        ((TOPIC, "0", "--to", "120"), "offset 120 does not exist"),
        ((TOPIC, "0", "--to", "soon"), "earliest"),
        (("raytide.feature", "0", "--to", "latest"), "did you mean 'raytide.features'"),
        ((TOPIC, "99", "--to", "latest"), "has no partition 99"),
    ):
        done = world.raytide("partitions", "reset", *arguments, "--yes", check=False)
        assert (done.returncode, message in " ".join(done.stderr.split())) == (2, True), done.stderr
    asked = world.raytide("partitions", "reset", TOPIC, "0", "--to", "earliest", check=False)
    assert "--yes" in asked.stderr

    reset = ("partitions", "reset", TOPIC, "0", "--to", "earliest", "--yes", "--by", "me", "--json")
    answer = json.loads(world.raytide(*reset).stdout)
    assert (answer["previous"], answer["next"]) == (100, 130)
    is_at(world, 150)
    report = verified(world)
    assert report["ok"]
    assert [(d["first"], d["next"], d["offsets"], d["declared_by"]) for d in report["declared"]] == [(100, 130, 30, "me")]
    assert "nothing lost but the 30 offsets that were declared" in world.raytide("verify").stdout
    assert world.sql("SELECT count(*) AS n FROM features WHERE entity_id LIKE 'old_%'") == [{"n": 120}]


def test_a_topic_made_again_with_more_records_halts_before_its_middle(world: World) -> None:
    client = admin(world)
    partitions = len(client.describe_topics([TOPIC])[0]["partitions"])
    client.delete_topics([TOPIC])
    eventually(lambda: client.describe_topics([TOPIC])[0]["error_code"], "the topic is gone", 30)
    client.create_topics({TOPIC: {"num_partitions": partitions, "replication_factor": 1}})
    client.wait_for_topics([TOPIC])
    client.close()
    send(world, "new", 0, 400)

    note = halted(world)
    assert "was deleted and made again" in note
    is_at(world, 150)
    assert world.sql("SELECT count(*) AS n FROM features WHERE entity_id LIKE 'new_%'") == [{"n": 0}]
    assert world.redis().exists("entity:new_200") == 0

    for number in range(partitions):
        if number:
            eventually(lambda: "HALTED" in {p.state for p in world.client.status().partitions}, "all halt", 40)
        world.raytide("partitions", "reset", TOPIC, str(number), "--to", "earliest", "--yes", check=number == 0)
    is_at(world, 400)
    assert world.sql("SELECT count(*) AS n FROM features WHERE entity_id LIKE 'new_%'") == [{"n": 400}]
    report = verified(world)
    assert report["ok"]
    assert {(d["partition"], d["first"], d["next"]) for d in report["declared"]} >= {(0, 100, 130), (0, 150, None)}
    assert world.client.get_online_features(["account_balance"], ["new_200"]).to_dict()["account_balance"] == [200.0]
