"""Processes that stand still while somebody takes over, and then go on as if nothing had happened."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from actors.handles import partition_name
from tests.fault import recovery
from tests.fault.kills import Fault
from tests.fault.traffic import Traffic
from tests.fault.world import ROOT, Stuck, World, eventually, frozen

ANSWER_SECONDS = 60.0
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

    @property
    def name(self) -> str:
        """Return the actor's name."""
        return partition_name(self.topic, self.partition)

    def batches(self, world: World, epoch: int, since: int = 0) -> int:
        """Return how many batches of an epoch start at an offset or later."""
        where = {"topic": self.topic, "partition": self.partition, "epoch": epoch, "since": since}
        return int(world.sql(_OF_EPOCH.format(**where))[0]["n"])


def partition_fenced(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Freeze a partition actor, let a successor take the next epoch and nothing more, and wake the old one."""
    victim = _victim(world, rng)
    with _successor(world, victim) as successor:
        with frozen(victim.pid):
            since = int(successor.does("take"))
            traffic.goes_on()
        return _fenced(world, victim, since)


def partition_overtaken(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Freeze a partition actor, let a successor read on and commit, and wake the old one."""
    victim = _victim(world, rng)
    with _successor(world, victim) as successor:
        with frozen(victim.pid):
            successor.does("start")
            eventually(lambda: victim.batches(world, victim.epoch + 1), "the successor commits")
            traffic.goes_on()
            since = _next_offset(world, victim)
        return _fenced(world, victim, since)


def replaced_while_frozen(name: str) -> Fault:
    """Return a fault that freezes an actor until the app itself replaces it, and then wakes what is left of it."""

    def strike(world: World, rng: random.Random, _traffic: Traffic) -> float:
        victim = rng.choice(sorted(actor for actor in world.actors() if actor.startswith(name)))
        pid, at = world.actors()[victim], time.time()
        before = recovery.epochs(world)
        with frozen(pid):
            recovery.replaced(world, victim, pid)
        if victim.startswith("partition:"):
            _, topic, partition = victim.split(":")
            took = recovery.after_takeover(world, at, topic, int(partition), before[victim])
        else:
            took = recovery.after_any_commit(world, at + 1)  # what was in its hands when it froze may still come through
        recovery.healthy(world)
        return took

    return strike


def _victim(world: World, rng: random.Random) -> Victim:
    name = rng.choice(sorted(actor for actor in world.actors() if actor.startswith("partition:")))
    _, topic, partition = name.split(":")
    return Victim(topic, int(partition), world.actors()[name], recovery.epochs(world)[name])


def _fenced(world: World, victim: Victim, since: int) -> float:
    """Return the seconds until the partition goes on under the supervisor's own actor; the old one must write nothing."""
    woken = time.time()
    if not psutil.pid_exists(victim.pid):
        raise AssertionError("the frozen process was ended before it could wake: nothing was shown")
    epoch = recovery.epochs(world)[victim.name]

    def moved() -> bool:
        return bool(victim.batches(world, victim.epoch, since)) or recovery.epochs(world)[victim.name] > epoch

    eventually(moved, "the woken actor is fenced and replaced")
    if written := victim.batches(world, victim.epoch, since):
        raise AssertionError(f"the zombie of epoch {victim.epoch} committed {written} batches from {since} on")
    took = recovery.after_takeover(world, woken, victim.topic, victim.partition, epoch)
    recovery.healthy(world)
    return took


def _next_offset(world: World, victim: Victim) -> int:
    rows = world.sql('SELECT topic, "partition", next_offset FROM partitions')
    return next(int(r["next_offset"]) for r in rows if (r["topic"], r["partition"]) == (victim.topic, victim.partition))


@dataclass
class Successor:
    """tests/fault/successor.py, connected and waiting."""

    process: subprocess.Popen[str]

    def does(self, verb: str) -> str:
        """Let it do something for the victim's partition; return what it answers."""
        assert self.process.stdin
        self.process.stdin.write(f"{verb}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        """Return the next line that it says; raise Stuck when it ended instead."""
        assert self.process.stdout
        if line := self.process.stdout.readline():
            return line.strip()
        raise Stuck(f"the successor ended, exit {self.process.wait(ANSWER_SECONDS)}: its last words are above")


@contextlib.contextmanager
def _successor(world: World, victim: Victim) -> Iterator[Successor]:
    """Start a successor of the victim, and end it with everything that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault.successor", str(world.folder), victim.topic, str(victim.partition)],
        cwd=ROOT,
        env=world.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        successor = Successor(process)
        while successor.answer() != "ready":  # Ray may say something first
            pass
        yield successor
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(ANSWER_SECONDS)
        finally:
            process.kill()
            process.wait()
