"""Somebody else who takes a partition over: `python -m tests.fault.successor VERB FOLDER TOPIC PARTITION`.

`take` takes the next epoch and prints the offset from which it would read; `start` makes an actor that reads and commits;
`stop` ends that. A process of its own, because a process can be the driver of one Ray only.
"""

from __future__ import annotations

import sys
from pathlib import Path

from actors import handles
from actors.clients import WriterClient
from actors.partition import Partition
from cluster import config as configuration
from cluster import lifecycle
from cluster.app import App
from cluster.lifecycle import Running
from cluster.registry import loader
from cluster.stack import manager

NAME = "successor"


def main(verb: str, folder: str, topic: str, partition: str) -> None:
    """Be a driver of the app's Ray, and do what the verb says."""
    running = Running.read(Path(folder))
    if running is None:
        raise SystemExit("the app does not run")
    with lifecycle._connected(running.ray_address, running.head):
        if verb == "take":
            sys.stdout.write(f"{WriterClient().open_partition(topic, int(partition), 0).next_offset}\n")
        elif verb == "start":
            app = _app(Path(folder), Path(running.config))
            source = next(s for s in app.catalog().stream_sources if s.topic == topic)
            handles.ensure(Partition, NAME, app, source, int(partition), max_concurrency=4)
        else:
            handles.kill(NAME)


def _app(folder: Path, project: Path) -> App:
    config = configuration.load(project)
    catalog = loader.load(config.project, project / config.definitions)
    stack = manager.status(folder / ".raytide")
    addresses = (str(stack.bootstrap_servers), str(stack.redis_url))
    return App(config, loader.to_bytes(catalog), 1, *addresses, str(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
