"""A world on two Ray nodes of one machine, the second of which can be lost with everything on it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from cluster.stack.process import free_port
from tests.fault import recovery
from tests.fault.traffic import Traffic
from tests.fault.world import ROOT, World, eventually, kill

#: Longer than the supervisor needs from one look to the next: at each it may move partitions.
REST_S = 3.0
STORE_BYTES = 120 * 1024**2
#: So that a node is given up within seconds, as docs/operations.md says for a cluster.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}
RAY = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_kill_idle_workers_interval_ms": "0",
    "RAY_worker_niceness": "0",
}


class TwoNodes(World):
    """The head has the stack, the writer and the disk; the other node comes and goes."""

    def __init__(self, folder: Path, source: Path = ROOT) -> None:
        super().__init__(folder, source)
        self._cluster: Any = None

    @contextmanager
    def running(self) -> Iterator[World]:
        """Start a head, then what every world has."""
        with _environment({**self.environment(), **RAY, **HEALTH}):
            self._cluster = Cluster(
                initialize_head=True,
                shutdown_at_exit=False,  # that takes a signal handler, for which this would have to be the main thread
                head_node_args={
                    "num_cpus": 2,
                    "include_dashboard": True,
                    "dashboard_port": free_port(),
                    "object_store_memory": STORE_BYTES,
                },
            )
            self._settings |= {"RAYTIDE_RAY__ADDRESS": self._cluster.address, **RAY}
            try:
                with super().running():
                    yield self
            finally:
                self._cluster.shutdown()

    def head(self) -> psutil.Process:
        """Return the process that started the nodes: this one."""
        return psutil.Process()

    def add_node(self) -> Any:
        """Add a node and return it."""
        with _environment({**self.environment(), **RAY, **HEALTH}):
            return self._cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)

    def lose(self, node: Any) -> float:
        """End a node's processes at once; return when."""
        at = time.time()
        self._cluster.remove_node(node, allow_graceful=False)
        return at

    def partitions_on(self, node: Any) -> set[str]:
        """Return the names of the partition actors on a node."""
        here = bytes.fromhex(node.node_id)
        return {a.name for a in self.living_actors() if a.name.startswith("partition:") and a.address.node_id == here}


def node_lost(world: World, rng: random.Random, _traffic: Traffic) -> float:
    """Add a node, let partitions move to it, and lose it."""
    if not isinstance(world, TwoNodes):
        raise TypeError("this needs a world of two nodes")
    node = world.add_node()
    eventually(lambda: _spread(world, node, rng), "a partition actor runs on the other node", every=1.0)
    before, victims = _at_rest(world, node)
    at = world.lose(node)
    took = max(recovery.after_takeover(world, at, *_place(name), before[name]) for name in victims)
    recovery.healthy(world)
    return took


def _spread(world: TwoNodes, node: Any, rng: random.Random) -> bool:
    """Return whether partition actors are on a node; while there are none, end one elsewhere, so that it is placed anew."""
    if not (there := world.partitions_on(node)):
        name, pid = rng.choice(sorted(item for item in world.actors().items() if item[0].startswith("partition:")))
        kill(pid)
        recovery.replaced(world, name, pid)
        recovery.healthy(world)
    return bool(there)


def _at_rest(world: TwoNodes, node: Any) -> tuple[dict[str, int], set[str]]:
    """Return the epochs of all partitions, and which ones are on a node, once neither changes: partitions still move to it."""
    seen: list[tuple[dict[str, int], set[str]]] = []

    def same() -> bool:
        recovery.healthy(world)
        seen.append((recovery.epochs(world), world.partitions_on(node)))
        return len(seen) > 1 and seen[-1] == seen[-2] and bool(seen[-1][1])

    eventually(same, "partitions stay where they are", every=REST_S)
    return seen[-1]


def _place(name: str) -> tuple[str, int]:
    _, topic, partition = name.split(":")
    return topic, int(partition)


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Have another environment inside the block: Ray hands its own to the processes that it starts."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update({name: value for name, value in wanted.items() if name != "RAY_ADDRESS"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
