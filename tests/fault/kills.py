"""Deaths by SIGKILL: of any process of the app at a random moment, or of the one that reaches a crash point."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster import faults
from cluster.faults import Point
from tests.fault import recovery
from tests.fault.traffic import Traffic
from tests.fault.world import World, eventually, kill

Fault = Callable[[World, random.Random, Traffic], float]

#: How long after the start of traffic a random kill may come.
LATEST_S = 0.5
#: How often it is looked who the workers are.
LOOK_S = 1.0
#: Which processes pass a point often; the others pass once a file.
_OFTEN = {Point.POLLED, Point.TRANSFORMED, Point.ONLINE, Point.IN_TRANSACTION, Point.COMMITTED, Point.ANSWERED}
_OFTEN |= {Point.WINDOWS_COMPUTED, Point.WINDOWS_PUT}
_MOST_PASSES = {**dict.fromkeys(_OFTEN, 4), Point.PIECE_COMPUTED: 2, Point.PIECE_APPENDED: 2}


@dataclass(frozen=True)
class Killed:
    """Who died when (seconds since 1970), and the epochs of all partitions before that."""

    name: str
    pid: int
    at: float
    epoch: int = 0


def actor(name: str) -> Fault:
    """Return a kill of an actor, named by the beginning of its name, at a random moment."""

    def strike(world: World, rng: random.Random, _traffic: Traffic) -> float:
        names = sorted(actor for actor in world.actors() if actor.startswith(name))
        victim = rng.choice(names)
        pid, epoch = world.actors()[victim], recovery.epochs(world).get(victim, 0)
        time.sleep(rng.uniform(0, LATEST_S))  # the moment is what is random
        return _recovered(world, Killed(victim, pid, kill(pid), epoch))

    return strike


def upload_task(world: World, rng: random.Random, traffic: Traffic) -> float:
    """Kill a Ray task that works on a piece of a file."""
    time.sleep(rng.uniform(0, LATEST_S))
    # Asking who the workers are takes as long as a piece does; few are born meanwhile.
    processes, looked = world.processes(), time.monotonic()

    def at_work() -> int:
        nonlocal processes, looked
        if time.monotonic() > looked + LOOK_S:
            processes, looked = world.processes(), time.monotonic()
        return rng.choice(world.tasks(processes) or [0])

    pid = eventually(at_work, "a piece of a file is at work", every=0.005)
    at, sent = kill(pid), traffic.files
    eventually(lambda: traffic.files > sent, "the file is DONE")
    return recovery.after_any_commit(world, at)


def at_point(point: Point) -> Fault:
    """Return a kill of whoever reaches a crash point for the n-th time."""

    def strike(world: World, rng: random.Random, _traffic: Traffic) -> float:
        known = world.actors()
        epochs = recovery.epochs(world)
        faults.arm(world.faults, point, rng.randint(1, _MOST_PASSES.get(point, 1)))
        if point is Point.EPOCH_TAKEN:  # passed only when a partition is opened: somebody has to need that
            kill(next(pid for name, pid in sorted(known.items()) if name.startswith("partition:")))
        fired = faults.fired(world.faults, point)
        eventually(fired.exists, f"somebody reaches {point}", every=0.01)
        pid, at = int(fired.read_text(encoding="utf-8")), fired.stat().st_mtime
        name = next((name for name, known_pid in known.items() if known_pid == pid), "")
        return _recovered(world, Killed(name, pid, at, epochs.get(name, 0)))

    return strike


def _recovered(world: World, killed: Killed) -> float:
    """Return the seconds to the first commit after a death, once the dead process has a successor."""
    if killed.name.startswith("gateway:"):
        seconds = recovery.after_answer(world, killed.at)
    elif killed.name.startswith("partition:"):
        _, topic, partition = killed.name.split(":")
        seconds = recovery.after_takeover(world, killed.at, topic, int(partition), killed.epoch)
    else:
        seconds = recovery.after_any_commit(world, killed.at)
    if killed.name:
        recovery.replaced(world, killed.name, killed.pid)
    return seconds
