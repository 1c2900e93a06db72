"""The growth benchmark on three nodes: `python -m bench.growth --nodes` runs this in namespaces of its own.

    python -m bench.growth_nodes FOLDER WHEELS OVERLAY BENCH_PYTHON EVENTS PARTITIONS...

The nodes share this machine's processors, so that its rate says what the way over several nodes costs, not what they bring.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.drains import BENCH, Job
from bench.growth import Started, grown, show
from raytide.client import RaytideClient
from tests.nodes.launched import Launched
from tests.nodes.rig import Node, Rig


class Growing(Launched):
    """The benchmark's app on the cluster, over one topic after the other."""

    def __init__(self, rig: Rig, folder: Path, head: Node, workers: list[Node]) -> None:
        super().__init__(rig, folder, head, workers)
        self._topic = ""

    def settings(self) -> dict[str, str]:
        """Return the app's configuration, with the topic that its definitions ask for."""
        return {**super().settings(), "BENCH_TOPIC": self._topic}

    def job(self, python: Path, events: int, partitions: int) -> Job:
        """Return the backlog for so many partitions."""
        services = self.services()
        return Job(
            topic=f"bench.growth-{partitions}",
            events=events,
            bootstrap=self.bootstrap,
            redis_url=f"redis://{self.head_node.address}:{services['valkey']['ports'][0]}",
            folder=self.folder,
            bench_python=python,
            servers=(),  # they are among the head's processes
            partitions=partitions,
        )

    @contextmanager
    def started(self, job: Job) -> Iterator[Started]:
        """Run a fresh app with an empty history."""
        self._topic = job.topic
        state = self.head_node.home / "app" / ".raytide"
        for old in state.glob("features.duckdb*"):
            old.unlink()
        self.raytide("up", "--project", "~/store")
        try:
            with RaytideClient(self.gateway()) as client:
                nodes = [self.head_node, *self.workers]
                yield Started(client, lambda: [p for node in nodes for p in node.processes()], state / "features.duckdb")
        finally:
            self.raytide("down")

    def gateway(self) -> str:
        """Return the gateway's address."""
        return f"{self.head_node.address}:50051"


def main(arguments: Sequence[str]) -> None:
    """Make the nodes, and the app on them again and again."""
    folder, wheels, overlay, python, events, *partitions = arguments
    _grow(Path(folder), Path(wheels), overlay, [(Path(python), int(events), int(count)) for count in partitions])


def _grow(folder: Path, wheels: Path, overlay: str, jobs: Sequence[tuple[Path, int, int]]) -> None:
    (folder / "launcher").mkdir()
    with Rig(folder, Path(overlay) if overlay else None, wheels).running() as rig:
        head, *workers = [rig.add(name) for name in ("head", "worker1", "worker2")]
        world = Growing(rig, folder, head, workers)
        with world.tunnel(), contextlib.closing(world):
            world.launch()
            world.joined(1 + len(workers))
            shutil.copytree(BENCH / "store", head.home / "store")
            world.stack_up()
            show([grown(world.job(python, events, count), world.started) for python, events, count in jobs])


if __name__ == "__main__":
    main(sys.argv[1:])
