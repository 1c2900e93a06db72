"""What an operator of a real cluster goes through, on nodes of this machine: `python -m tests.nodes.scenario FOLDER ...`.

Started by tests/nodes/test_ray_up.py in namespaces of its own. Every event and file is compared with what is stored.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actors.handles import GATEWAY
from cluster.errors import Refused
from generator.files import make_file
from generator.profiles import FEATURES_SOURCE, Settings
from raytide.client import RaytideClient
from tests.fault import recovery
from tests.fault.judge import Judge
from tests.fault.traffic import PROFILE, Traffic
from tests.fault.truth import Truth
from tests.fault.world import eventually, kill
from tests.nodes.launched import FOR_STREAMS, SLOTS, Launched
from tests.nodes.rig import Node, Rig

#: Nodes share the machine's processors, so events come slowly, and never stop.
SLOWLY = replace(PROFILE, rate=200.0)
STORM_FILES, STORM_ROWS, MOST_FILES = 4, 40_000, 16


def kill_raylet(node: Node) -> float:
    """End Ray on a node at once; return when."""
    (raylet,) = node.running("/raylet")
    return kill(raylet.pid)


def freeze(node: Node) -> float:
    """Let a node stand still, with its connections open; return when."""
    at = time.time()
    node.signal(signal.SIGSTOP)
    return at


@dataclass(frozen=True)
class Loss:
    """A way to lose a node, and how soon its partitions should commit again."""

    what: str
    strike: Callable[[Node], float]
    aim_s: float


KILLED, FROZEN = Loss("a worker's raylet killed", kill_raylet, 10), Loss("a worker frozen", freeze, 15)


class Scenario:
    """The steps, in the order in which `play` runs them; each ends with a comparison of all that was sent."""

    def __init__(self, world: Launched) -> None:
        self._world, self._truth = world, Truth()
        self._judge, self._seed = Judge(world, self._truth), 0
        self._began = time.monotonic()

    def play(self) -> None:
        """Play all of it; raise AssertionError for the first thing that is wrong."""
        self._bring_up()
        self._everything_is_where_it_belongs()
        self._gateways()
        self._storm()
        self._read_on_every_node()
        first, second = self._world.workers
        self._lost(first, KILLED)
        self._lost(second, FROZEN)
        self._add_a_node()
        self._gcs_killed()
        self._down_and_up_again()

    def _bring_up(self) -> None:
        world = self._world
        world.launch()
        world.joined(1 + len(world.workers))
        assert not world.open_without_token(), "the dashboard answers without the token"
        for node in world.rig.nodes.values():
            mode = (node.home / ".ray" / "auth_token").stat().st_mode & 0o777
            assert mode == 0o600, f"the token of {node.name} has mode {mode:o}"
        world.stack_up()
        world.app_up()
        recovery.healthy(world)
        self._say("ray up: every node joined, and the app runs")

    def _everything_is_where_it_belongs(self) -> None:
        places = self._world.places()
        moving = ("partition:", GATEWAY)  # a gateway that only reads is on each worker, which its label asks for
        pinned = {name: at for name, at in places.items() if not name.startswith(moving)}
        assert set(pinned.values()) == {self._world.head_node.address}, pinned
        self._evenly()

    def _read_on_every_node(self) -> None:
        """Ask the gateway of each node for the same values, and those that only read for more than that."""
        world = self._world
        here, *others = self._gateways()
        assert {at.rpartition(":")[0] for at in others} == {node.address for node in world.workers}
        expected = _read(here)
        assert any(expected["risk_score"]), expected
        for address in others:
            assert _read(address) == expected, address
            with RaytideClient(address) as client, pytest.raises(Refused, match="only reads features: call the one of"):
                client.status()
        self._say(f"gateways on {1 + len(others)} nodes answer the same")

    def _gateways(self) -> list[str]:
        """Return the addresses of the gateways once every node has one that serves, first that of the head."""
        world = self._world

        def serving() -> list[str]:
            found = [one.address for one in world.client.status().gateways if one.state == "RUNNING"]
            return found if len(found) == 1 + len(world.workers) else []

        return sorted(eventually(serving, "every node has a gateway that serves"), key=lambda at: at != world.gateway())

    def _storm(self) -> None:
        """Send files at once, while events flow; Ray's own state says when each of their tasks ran, and where."""
        tasks: list[dict[str, Any]] = []
        count, cap = 1 + len(self._world.workers), SLOTS - FOR_STREAMS
        with self._traffic() as traffic:
            for first in range(0, MOST_FILES, STORM_FILES):
                with ThreadPoolExecutor(STORM_FILES) as senders:
                    sent = list(senders.map(self._send, range(first, first + STORM_FILES)))
                tasks += [task for upload_id in sent for task in self._tasks_of(upload_id)]
                nodes = {task["node_id"] for task in tasks}
                at_once = most_at_once([(t["start_time_ms"], t["end_time_ms"]) for t in tasks])
                # The first files may be over before a node has started a process for their tasks.
                if len(nodes) == count and at_once >= cap:
                    break
            traffic.finish()
        assert len(nodes) == count, f"tasks ran on {len(nodes)} nodes"
        assert at_once == cap, f"{at_once} tasks of files ran at once, and {cap} may"
        self._judged(f"{len(tasks)} upload tasks on {len(nodes)} nodes, at most {at_once} at once")

    def _lost(self, node: Node, loss: Loss) -> None:
        """Lose a node with traffic; Ray's launcher brings it back, and partitions are even again."""
        world, what = self._world, loss.what
        victims = [name for name, at in world.places().items() if at == node.address and name.startswith("partition:")]
        before = recovery.epochs(world)
        with self._traffic() as traffic:
            at = loss.strike(node)
            took = max(recovery.after_takeover(world, at, *_place(name), before[name]) for name in victims)
            node.signal(signal.SIGCONT)  # in case that it stands still
            traffic.goes_on()
            traffic.finish()
        self._say(f"{what}: its {len(victims)} partitions commit again after {took:.1f} s, the aim is {loss.aim_s:.0f} s")
        world.joined(1 + len(world.workers))
        self._evenly()
        self._read_on_every_node()
        self._judged(f"{what}: it is back, and partitions are even")

    def _add_a_node(self) -> None:
        world = self._world
        world.workers.append(world.rig.add("worker3"))
        with self._traffic() as traffic:
            world.launch("--no-restart")
            world.raytide("cluster", "add-workers")
            world.joined(1 + len(world.workers))
            self._evenly()
            traffic.finish()
        self._judged("a node was added: partitions are even")

    def _gcs_killed(self) -> None:
        """Kill the control store, without which a cluster of one's own machines ends: `ray up` makes it anew."""
        world = self._world
        (gcs,) = world.head_node.running("/gcs_server")
        kill(gcs.pid)
        self._up_again("the head's GCS killed")

    def _down_and_up_again(self) -> None:
        world = self._world
        world.raytide("down")
        world.take_down()
        left = {node.name: node.of_ray() for node in world.rig.nodes.values()}
        assert not any(left.values()), f"processes of Ray after `ray down` and stop-workers: {left}"
        self._up_again("ray down")
        assert not (found := self._judge.verify()), found
        self._say("raytide verify: clean")
        world.raytide("down")
        world.raytide("stack", "down")
        world.take_down()

    def _up_again(self, after: str) -> None:
        world = self._world
        world.launch()
        world.joined(1 + len(world.workers))
        world.app_up()
        recovery.healthy(world)
        with self._traffic() as traffic:
            traffic.goes_on()
            traffic.finish()
        self._judged(f"{after}, and ray up again: the app goes on")

    def _traffic(self) -> Traffic:
        self._seed += 1
        return Traffic(self._world, self._truth, self._seed, SLOWLY)

    def _send(self, number: int) -> str:
        """Send one file of the storm until it is DONE; return its id."""
        settings = Settings(
            bootstrap_servers=self._world.bootstrap,
            profile=SLOWLY,
            entities=200,
            seed=1_000 + number,
            start=datetime.now(UTC),
            upload_rows=STORM_ROWS,
        )
        folder = self._world.folder / f"storm-{number}"
        folder.mkdir()
        file = make_file(settings, number, datetime.now(UTC))
        with RaytideClient(self._world.gateway(), timeout_s=120) as client:
            upload = client.upload_file(file.write(folder).path, source=FEATURES_SOURCE, format=file.format)
        assert upload.state == "DONE", upload
        self._truth.uploaded(upload.upload_id, file.events)
        return upload.upload_id

    def _tasks_of(self, upload_id: str) -> list[dict[str, Any]]:
        """Return the tasks of a file, once Ray has learnt of no more; their processes tell it once a second."""
        found: list[list[dict[str, Any]]] = [[]]

        def settled() -> bool:
            found.append(self._world.upload_tasks(upload_id))
            return 0 < len(found[-1]) == len(found[-2])

        eventually(settled, f"Ray knows the tasks of upload {upload_id}", every=2.0)
        return found[-1]

    def _evenly(self) -> None:
        def even() -> bool:
            counts = self._world.partitions_at()
            return len(counts) == 1 + len(self._world.workers) and max(counts.values()) - min(counts.values()) <= 1

        eventually(even, "partitions are spread evenly over all nodes", every=1.0)
        recovery.healthy(self._world)

    def _judged(self, what: str) -> None:
        eventually(lambda: not self._world.client.status().limiter.held, "every worker slot is free again", every=0.5)
        problems = {column: texts for column, texts in self._judge.round().items() if texts}
        assert not problems, f"{what}: {json.dumps(problems, indent=1)[:3000]}"
        self._say(f"{what}; nothing lost, doubled or stale")

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {what}", flush=True)  # noqa: T201 - the report


def most_at_once(spans: Sequence[tuple[int, int]]) -> int:
    """Return how many of the spans (start, end) overlap at most; one that starts when another ends does not."""
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running, most = 0, 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def _read(address: str) -> dict[str, list[Any]]:
    with RaytideClient(address) as client:
        return client.get_online_features(["risk_score"], [f"user_{number}" for number in range(1, 101)]).to_dict()


def _place(name: str) -> tuple[str, int]:
    _, topic, partition = name.split(":")
    return topic, int(partition)


def main(folder: Path, wheels: Path, overlay: str) -> None:
    """Make the nodes, play, and let go of everything."""
    (folder / "launcher").mkdir()
    with Rig(folder, Path(overlay) if overlay else None, wheels).running() as rig:
        head, *workers = [rig.add(name) for name in ("head", "worker1", "worker2")]
        world = Launched(rig, folder, head, workers)
        (folder / "namespaces.json").write_text(json.dumps(rig.namespaces()))
        with world.tunnel(), contextlib.closing(world):
            Scenario(world).play()
        (folder / "namespaces.json").write_text(json.dumps(rig.namespaces()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
