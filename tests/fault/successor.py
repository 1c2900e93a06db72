"""Somebody else who takes a partition over: `python -m tests.fault.successor FOLDER TOPIC PARTITION`.

It says `ready` once it is connected, because that takes longer than a frozen actor may stand still, and then does what each
line of its input says: `take` takes the next epoch and answers with the offset from which it would read; `start` makes an
actor that reads and commits, which ends with this process's input. A process of its own, because a process can be the driver
of one Ray only.
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
from cluster.registry import loader
from cluster.running import Running
from cluster.stack import manager

NAME = "successor"


def main(folder: Path, topic: str, partition: int) -> None:
    """Be a driver of the app's Ray, and do what the input says until it ends."""
    running = Running.read(folder)
    if running is None:
        raise SystemExit("the app does not run")
    with lifecycle.connected(running.ray_address, running.head):
        app = _app(folder, Path(running.config))
        source = next(s for s in app.catalog().stream_sources if s.topic == topic)
        _answer("ready")
        for verb in sys.stdin:
            if verb.strip() == "take":
                _answer(str(WriterClient().open_partition(topic, partition, 0).next_offset))
            else:
                handles.ensure(Partition, NAME, app, source, partition, max_concurrency=4)
                _answer("started")
        handles.kill(NAME)


def _answer(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _app(folder: Path, project: Path) -> App:
    config = configuration.load(project)
    catalog = loader.load(config.project, project / config.definitions)
    stack = manager.status(folder / ".raytide")
    addresses = (str(stack.bootstrap_servers), str(stack.redis_url))
    return App(config, loader.to_bytes(catalog), 1, *addresses, str(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
