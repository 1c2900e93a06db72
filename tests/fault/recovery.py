"""When the path works again after something died: measured from the kill to the first commit after it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from actors.handles import partition_name
from cluster.errors import RaytideError
from tests.fault.world import World, eventually

_COMMITTED = """
    SELECT epoch_us(min(committed_at)) AS at FROM batches JOIN sources USING (source_id)
    WHERE kind = 'stream' AND committed_at > make_timestamp({after}::BIGINT) AND {wanted}"""
_PAUSE = """
    SELECT max(us) AS us FROM (
        SELECT committed_at, epoch_us(committed_at) - lag(epoch_us(committed_at)) OVER (ORDER BY committed_at) AS us
        FROM batches JOIN sources USING (source_id) WHERE kind = 'stream')
    WHERE committed_at > make_timestamp({since}::BIGINT)"""
#: A worker that still imports uses more of a core than this between two looks, and the supervisor asks for others in that time.
IDLE_LOOK_S, IDLE_CPU_S = 2.5, 0.2
EPOCHS = 'SELECT topic, "partition", epoch FROM partitions ORDER BY ALL'


def epochs(world: World) -> dict[str, int]:
    """Return the epoch of each partition, by the name of its actor."""
    return {partition_name(row["topic"], row["partition"]): int(row["epoch"]) for row in world.sql(EPOCHS)}


def after_any_commit(world: World, since: float) -> float:
    """Return the seconds from `since` to the first commit of any stream after it."""
    return _first(world, since, "true")


def after_takeover(world: World, since: float, topic: str, partition: int, epoch: int) -> float:
    """Return the seconds from `since` to the first commit of a partition under a later epoch than `epoch`."""
    wanted = f"topic = '{topic}' AND \"partition\" = {partition} AND batches.epoch > {epoch}"
    return _first(world, since, wanted)


def longest_pause(world: World, since: float) -> float:
    """Return the longest time without a commit of any stream, in seconds, from the last commit before `since` on."""
    return float(world.sql(_PAUSE.format(since=int(since * 1e6)))[0]["us"]) / 1e6


def after_answer(world: World, since: float) -> float:
    """Return the seconds from `since` until the gateway answers a call."""

    def answered() -> bool:
        with contextlib.suppress(RaytideError):
            world.client.status()
            return True
        return False

    eventually(answered, "the gateway answers")
    return time.time() - since


def after_commit_of(world: World, since: float, topic: str, partition: int) -> float:
    """Return the seconds from `since` to the first commit of a partition after it."""
    return _first(world, since, f"topic = '{topic}' AND \"partition\" = {partition}")


def after_every_partition(world: World, since: float) -> float:
    """Return the seconds from `since` until every partition has committed something."""
    return max(after_commit_of(world, since, row["topic"], row["partition"]) for row in world.sql(EPOCHS))


def replaced(world: World, name: str, old: int) -> int:
    """Return the process id of an actor once it is another one than `old`."""

    def other() -> int:
        return next((pid for actor, pid in world.actors().items() if actor.startswith(name) and pid != old), 0)

    return int(eventually(other, f"{name} is built anew"))


def healthy(world: World) -> None:
    """Return when the gateway answers, every partition runs, and Redis holds the newest of history."""

    def well() -> bool:
        with contextlib.suppress(RaytideError):
            status = world.client.status()
            return (
                status.writer.state == "RUNNING"
                and status.online.state == "OK"
                and _all_run(p.state for p in status.partitions)
            )
        return False

    eventually(well, "the status says that all is well", every=0.1)


def warm(world: World) -> None:
    """Return when the workers that wait for an actor or a piece of a file have imported everything, seconds after a start."""
    used = -IDLE_CPU_S

    def rests() -> bool:
        nonlocal used
        before, used = used, world.idle_cpu()
        return abs(used - before) < IDLE_CPU_S

    eventually(rests, "idle workers have imported everything", every=IDLE_LOOK_S)


def _all_run(states: Iterable[str]) -> bool:
    found = list(states)
    return len(found) > 1 and set(found) == {"RUNNING"}


def _first(world: World, since: float, wanted: str) -> float:
    after = int(since * 1e6)

    def committed() -> int:
        return int(world.sql(_COMMITTED.format(after=after, wanted=wanted))[0]["at"] or 0)

    # The ledger says when it was: asking often would only slow down what is waited for.
    at = int(eventually(committed, f"a commit of {wanted}", every=0.2))
    return (at - after) / 1e6
