"""Processes that stand still while somebody takes over, and then go on as if nothing had happened."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from actors import handles
from actors.clients import WriterClient
from actors.partition import Partition
from cluster import config as configuration
from cluster import lifecycle
from cluster.app import App
from cluster.lifecycle import Running
from cluster.registry import loader
from tests.fault import recovery
from tests.fault.kills import Fault
from tests.fault.traffic import Traffic
from tests.fault.world import World, eventually, frozen

SUCCESSOR = "successor"
_OF_EPOCH = """
    SELECT count(*) AS n FROM batches JOIN sources USING (source_id)
    WHERE kind = 'stream' AND topic = '{topic}' AND "partition" = {partition} AND batches.epoch = {epoch}
    AND first_position >= {since}"""


@dataclass(frozen=True)
class Victim:
    """A partition actor, and the epoch that it had."""

    topic: str
    partition: int
    pid: int
    epoch: int

    def batches(self, world: World, epoch: int, since: int = 0) -> int:
        """Return how many batches of an epoch start at an offset or later."""
        where = {"topic": self.topic, "partition": self.partition, "epoch": epoch, "since": since}
        return int(world.sql(_OF_EPOCH.format(**where))[0]["n"])


def partition_fenced(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Freeze a partition actor, let a successor take the next epoch and nothing more, and wake the old one."""
    victim = _victim(world, rng)
    with _driver(world):
        with frozen(victim.pid):
            start = WriterClient().open_partition(victim.topic, victim.partition, 0)
            traffic.another_thousand()
        return _fenced(world, victim, start.next_offset)


def partition_overtaken(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Freeze a partition actor, let a successor read on and commit, and wake the old one."""
    victim = _victim(world, rng)
    app = _app(world)
    source = next(s for s in app.catalog().stream_sources if s.topic == victim.topic)
    with _driver(world):
        try:
            with frozen(victim.pid):
                handles.ensure(Partition, SUCCESSOR, app, source, victim.partition, max_concurrency=4)
                eventually(lambda: victim.batches(world, victim.epoch + 1), "the successor commits")
                traffic.another_thousand()
                since = _next_offset(world, victim)
            return _fenced(world, victim, since)
        finally:
            handles.kill(SUCCESSOR)


def replaced_while_frozen(name: str) -> Fault:
    """Return a fault that freezes an actor until the app itself replaces it, and then wakes what is left of it."""

    def strike(world: World, rng: random.Random, _traffic: Traffic) -> float:
        victim = rng.choice(sorted(actor for actor in world.actors() if actor.startswith(name)))
        pid, at = world.actors()[victim], time.time()
        epochs = {(r["topic"], r["partition"]): r["epoch"] for r in world.sql(recovery.EPOCHS)}
        with frozen(pid):
            recovery.replaced(world, victim, pid)
        if victim.startswith("partition:"):
            _, topic, partition = victim.split(":")
            took = recovery.after_takeover(world, at, topic, int(partition), epochs[topic, int(partition)])
        else:
            took = recovery.after_any_commit(world, at + 1)  # what was in its hands when it froze may still come through
        recovery.healthy(world)
        return took

    return strike


def _victim(world: World, rng: random.Random) -> Victim:
    name = rng.choice(sorted(actor for actor in world.actors() if actor.startswith("partition:")))
    _, topic, partition = name.split(":")
    return Victim(topic, int(partition), world.actors()[name], recovery.epoch_of(world, topic, int(partition)))


def _fenced(world: World, victim: Victim, since: int) -> float:
    """Return the seconds until the partition goes on under the supervisor's own actor; the old one must write nothing."""
    woken = time.time()
    if not psutil.pid_exists(victim.pid):
        raise AssertionError("the frozen process was ended before it could wake: nothing was shown")
    epoch = recovery.epoch_of(world, victim.topic, victim.partition)

    def moved() -> bool:
        return (
            bool(victim.batches(world, victim.epoch, since)) or recovery.epoch_of(world, victim.topic, victim.partition) > epoch
        )

    eventually(moved, "the woken actor is fenced and replaced")
    if written := victim.batches(world, victim.epoch, since):
        raise AssertionError(f"the zombie of epoch {victim.epoch} committed {written} batches from {since} on")
    took = recovery.after_takeover(world, woken, victim.topic, victim.partition, epoch)
    recovery.healthy(world)
    return took


def _next_offset(world: World, victim: Victim) -> int:
    rows = world.sql('SELECT topic, "partition", next_offset FROM partitions')
    return next(int(r["next_offset"]) for r in rows if (r["topic"], r["partition"]) == (victim.topic, victim.partition))


def _app(world: World) -> App:
    project = world.source / "examples" / "demo"
    config = configuration.load(project)
    catalog = loader.load(config.project, project / config.definitions)
    redis_url = f"redis://127.0.0.1:{world.services()['valkey']['ports'][0]}/0"
    return App(config, loader.to_bytes(catalog), 1, world.bootstrap, redis_url, str(world.folder))


@contextmanager
def _driver(world: World) -> Iterator[None]:
    """Be a driver of the app's Ray, so that actors can be called and made."""
    running = Running.read(world.folder)
    if running is None:
        raise AssertionError("the app does not run")
    with contextlib.ExitStack() as stack:
        stack.enter_context(lifecycle._connected(running.ray_address, running.head))
        yield
