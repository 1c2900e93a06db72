"""A head of our own whose parts die."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from cluster import ray_head
from cluster.config import RayConfig

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


def test_a_head_whose_raylet_ended_is_not_whole_although_its_parent_runs(tmp_path: Path) -> None:
    """The raylet ends itself, and in good order, when it has lost its agent: the parent waits on."""
    config = RayConfig(dashboard_port=0, num_cpus=1, object_store_bytes=100 * 2**20)
    head = ray_head.start(config, tmp_path / "ray.log", tmp_path / "dashboards")
    try:
        parent = psutil.Process(head.process.pid)
        deadline = time.monotonic() + 30
        while not head.is_whole():  # the port answers before the raylet runs
            assert time.monotonic() < deadline
            time.sleep(0.05)
        agents = [p for p in parent.children(recursive=True) if any("runtime_env" in part for part in p.cmdline())]
        agents[0].kill()
        while head.is_whole():
            assert time.monotonic() < deadline + 30
            time.sleep(0.05)
        assert head.alive()
    finally:
        ray_head.end(head)
    assert not head.is_whole()
