"""Ray's launcher, which runs on the head, and what it does not learn by itself."""

from __future__ import annotations

from pathlib import Path

from ray.autoscaler._private.local.node_provider import LocalNodeProvider

from cluster import ray_workers
from cluster.config_file import read_yaml
from cluster.errors import Misconfigured


def add_workers(file: Path) -> tuple[str, ...]:
    """Let the launcher of this machine know of the workers that `file` names, and return them; repeating it changes nothing.

    It reads a file that `ray up` changed, but takes workers from a list of its own, which it fills when Ray starts and looks at
    before each launch. So without this it tries to launch one more again and again, and finds none. Raise Misconfigured for a
    file without addresses.
    """
    addresses = ray_workers.read(file).addresses
    content = read_yaml(file)
    if not content.get("cluster_name"):
        raise Misconfigured(f"{file}: cluster_name is missing, without which `ray up` does not work either: set it")
    LocalNodeProvider(content["provider"], content["cluster_name"])  # writes the list, under the lock of Ray's own
    return addresses
