"""One private Ray for this folder's tests, connected to by address and stopped by process id."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray

from actors.handles import NAMESPACE
from cluster import ray_head
from cluster.config import RayConfig


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Ray with two CPUs that this process is connected to."""
    config = RayConfig(dashboard_port=0, num_cpus=2, object_store_bytes=100 * 2**20)
    folder = tmp_path_factory.mktemp("ray")
    head = ray_head.start(config, folder / "ray.log", folder / "dashboards")
    before = dict(os.environ)
    os.environ.update({k: v for k, v in ray_head.environment().items() if k.startswith("RAY_")})
    try:
        ray.init(head.address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        yield head.address
    finally:
        ray.shutdown()
        ray_head.end(head)
        os.environ.clear()
        os.environ.update(before)
