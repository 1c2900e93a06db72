"""A burst of garbage in one partition: it halts, its neighbours run on, and a person lets it go on."""

from __future__ import annotations

import json
import random
import time

from kafka import KafkaProducer

from generator.profiles import FEATURES_TOPIC
from tests.fault import recovery
from tests.fault.traffic import Traffic
from tests.fault.truth import Reject
from tests.fault.world import Stuck, World, eventually

GARBAGE = 3_000


def burst(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Send garbage, wait for the halt, see that the others commit, and resume with an allowance."""
    partition = rng.choice([0, 1])
    since = time.time()
    _send(world, traffic, partition, b"garbage %d" % rng.getrandbits(64))
    halted = eventually(lambda: _state(world, partition)["state"] == "HALTED" and _state(world, partition), "it halts")
    command = f"raytide partitions resume {FEATURES_TOPIC} {partition}"
    if command not in halted["note"]:
        raise Stuck(f"the note does not say how to go on: {halted['note']}")
    for topic, other in ((FEATURES_TOPIC, 1 - partition), ("raytide.orders", 0), ("raytide.orders", 1)):
        recovery.after_commit_of(world, since, topic, other)
    resumed = time.time()
    world.raytide(*command.split()[1:], "--allow-rejects", str(GARBAGE))
    took = recovery.after_commit_of(world, resumed, FEATURES_TOPIC, partition)
    recovery.healthy(world)
    return took


def _send(world: World, traffic: Traffic, partition: int, text: bytes) -> None:
    # One batch, so that no good event comes between.
    servers = world.bootstrap.split(",")
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=500, batch_size=1_000_000)
    values = [text + b"/%d" % n for n in range(GARBAGE)]
    sent = [producer.send(FEATURES_TOPIC, value, partition=partition) for value in values]
    for value, future in zip(values, sent, strict=True):
        traffic.truth.take(FEATURES_TOPIC, partition, future.get(30).offset, Reject(value))
    producer.close()


def _state(world: World, partition: int) -> dict[str, str]:
    found = json.loads(world.raytide("partitions", "list", "--json").stdout)
    return next(p for p in found if (p["topic"], p["partition"]) == (FEATURES_TOPIC, partition))
