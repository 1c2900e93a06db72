"""What is away, slow, full or frozen for a while, and comes back. Each waits for recovery, measured from the end of it."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from cluster import faults
from cluster.errors import RaytideError
from cluster.stores.kafka_client import check_listening
from generator.profiles import FEATURES_TOPIC
from tests.fault import recovery
from tests.fault.kills import Fault
from tests.fault.traffic import Traffic
from tests.fault.world import World, eventually, frozen, kill

Outage = Callable[[World, Traffic], contextlib.AbstractContextManager[None]]

HOUR_US = 3_600_000_000
#: A server that works for a fifth of the time, in turns of a tenth of a second.
STILL_S, AWAKE_S = 0.08, 0.02


def lasting(outage: Outage, seconds: float) -> Fault:
    """Return a fault that lasts for `seconds`; recovery is counted from its end."""

    def strike(world: World, _rng: random.Random, traffic: Traffic) -> float:
        with outage(world, traffic):
            time.sleep(seconds)  # how long it lasts is what is tried
        ended = time.time()
        took = recovery.after_any_commit(world, ended)
        recovery.healthy(world)
        return took

    return strike


def app_killed(world: World, _rng: random.Random, _traffic: Traffic) -> float:
    """Kill every process of the app, Ray's and the keeper among them, and start it again."""
    head = world.head()
    at = kill(world.remembered()["keeper"]["pid"])
    for process in [head, *head.children(recursive=True)]:
        kill(process.pid)
    world.app_up()
    up = time.time()
    took = up - at + recovery.after_any_commit(world, up)
    recovery.healthy(world)
    return took


def app_upgraded(world: World, _rng: random.Random, traffic: Traffic) -> float:
    """Put another code under the running app and start that: every actor is another process, while Kafka, Redis and Ray go on.

    What counts is how long nothing was committed.
    """
    before, head = world.actors(), world.head()
    at = time.time()
    with (world.source / "cluster" / "clock.py").open("a", encoding="utf-8") as file:
        file.write("# another code\n")
    world.app_up()
    for name, pid in before.items():
        recovery.replaced(world, name, pid)
    if world.head() != head:
        raise AssertionError("Ray did not go on")
    traffic.goes_on()
    recovery.healthy(world)
    return recovery.longest_pause(world, at)


def ray_process(name: str) -> Fault:
    """Return a kill of one of Ray's own processes, after which nobody does anything: the keeper starts the app again."""

    def strike(world: World, _rng: random.Random, _traffic: Traffic) -> float:
        head = world.head()
        victims = [p for p in head.children(recursive=True) if name in " ".join(p.cmdline()[:3])]
        at = kill(victims[0].pid)
        eventually(lambda: world.remembered()["head"]["process"]["pid"] != head.pid, "the keeper starts another Ray")
        recovery.healthy(world)
        return recovery.longest_pause(world, at)

    return strike


def keeper_then_ray(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Kill the keeper and, once the supervisor has started another one, Ray's control store."""
    keeper = world.remembered()["keeper"]["pid"]
    kill(keeper)
    eventually(lambda: world.remembered()["keeper"]["pid"] != keeper, "there is another keeper")
    return ray_process("gcs_server")(world, rng, traffic)


@contextmanager
def redis_killed(world: World, _traffic: Traffic) -> Iterator[None]:
    """Take the server away; it comes back empty."""
    kill(world.service_pid("valkey"))
    yield
    world.stack_up()


@contextmanager
def redis_emptied(world: World, _traffic: Traffic) -> Iterator[None]:
    """Empty the server while it runs."""
    world.redis().flushall()
    yield


@contextmanager
def redis_frozen(world: World, _traffic: Traffic) -> Iterator[None]:
    """Let the server stand still with its connections open."""
    with frozen(world.service_pid("valkey")):
        yield


@contextmanager
def redis_full(world: World, _traffic: Traffic) -> Iterator[None]:
    """Leave the server no memory for writes."""
    server = world.redis()
    server.config_set("maxmemory", "1")
    with contextlib.suppress(redis.exceptions.OutOfMemoryError):
        server.set("raytide-fault:probe", "x")
        raise AssertionError("the server still takes writes")
    try:
        yield
    finally:
        server.config_set("maxmemory", "0")


@contextmanager
def redis_slow(world: World, _traffic: Traffic) -> Iterator[None]:
    """Let the server work for a fifth of the time."""
    with _stuttering(world.service_pid("valkey")):
        yield


@contextmanager
def broker_away(world: World, _traffic: Traffic) -> Iterator[None]:
    """Kill the only broker, and start it again."""
    kill(world.service_pid("kafka-1"))
    yield
    world.stack_up()


def leader_killed(world: World, _rng: random.Random, traffic: Traffic) -> float:
    """Kill the leader of a partition for good; the two others have to do. It is started again for the next round only."""
    leader = _leader(world, FEATURES_TOPIC)
    at = kill(world.service_pid(f"kafka-{leader}"))
    eventually(lambda: _leader(world, FEATURES_TOPIC) not in {leader, -1}, "another broker leads")
    took = recovery.after_every_partition(world, at)
    traffic.goes_on()
    traffic.finish()  # first: a broker takes half a minute to start beside it
    world.stack_up()
    eventually(lambda: _in_sync(world, FEATURES_TOPIC) == {world.brokers}, "all replicas are in sync again")
    recovery.healthy(world)
    return took


@contextmanager
def disk_full_under_history(world: World, _traffic: Traffic) -> Iterator[None]:
    """Let no file of the writer grow: what a full disk does, without a disk of that size."""
    with _no_growth(world, "writer"):
        yield


@contextmanager
def disk_full_under_spool(world: World, _traffic: Traffic) -> Iterator[None]:
    """Let no file of the gateway grow."""
    with _no_growth(world, "gateway:"):
        yield


@contextmanager
def clock_back(world: World, _traffic: Traffic) -> Iterator[None]:
    """Set the clock that the app sees back by an hour, and forward again."""
    faults.set_clock(world.faults, -HOUR_US)
    try:
        yield
    finally:
        faults.set_clock(world.faults, 0)


@contextmanager
def _stuttering(pid: int) -> Iterator[None]:
    ended = threading.Event()

    def stutter() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(STILL_S)
            os.kill(pid, signal.SIGCONT)
            ended.wait(AWAKE_S)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _no_growth(world: World, actor: str) -> Iterator[None]:
    """Bound the size of every file of an actor's process, and of its successors', by what it may hold now: nothing."""
    ended, limited = threading.Event(), set()

    def limit() -> None:
        while not ended.is_set():
            for name, pid in world.actors().items():
                if name.startswith(actor) and pid not in limited:
                    with contextlib.suppress(psutil.Error):
                        psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
                        limited.add(pid)
            ended.wait(0.1)

    thread = threading.Thread(target=limit)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for pid in limited:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _leader(world: World, topic: str) -> int:
    """Return the broker that leads the first partition of a topic; -1 while none does."""
    return next((int(p["leader_id"]) for p in _partitions(world, topic) if p["partition_index"] == 0), -1)


def _in_sync(world: World, topic: str) -> set[int]:
    return {len(p["isr_nodes"]) for p in _partitions(world, topic)}


def _partitions(world: World, topic: str) -> list[dict[str, Any]]:
    """Return what a broker that lives says of a topic's partitions; nothing while none answers."""
    living = [s for s in world.bootstrap.split(",") if _listens(s)]
    with contextlib.suppress(KafkaError):
        admin = KafkaAdminClient(bootstrap_servers=living, bootstrap_timeout_ms=2_000)
        try:
            return list(admin.describe_topics([topic])[0]["partitions"])
        finally:
            admin.close()
    return []


def _listens(server: str) -> bool:
    with contextlib.suppress(RaytideError):
        check_listening(server)
        return True
    return False
