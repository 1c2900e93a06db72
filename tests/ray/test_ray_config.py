"""`ray_config.yaml` is what Ray's own launcher accepts, and has what FACTS of the local provider demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> Any:
    return yaml.safe_load((ROOT / "ray_config.yaml").read_text(encoding="utf-8"))


def test_rays_own_launcher_accepts_it(cluster: Any) -> None:
    prepared = prepare_config(cluster)
    validate_config(prepared)
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["min_workers"] == len(cluster["provider"]["worker_ips"])


def test_it_avoids_what_aborts_the_local_provider(cluster: Any) -> None:
    assert not {"available_node_types", "head_node", "worker_nodes"} & set(cluster)
    assert cluster["provider"]["type"] == "local"
    assert cluster["auth"]["ssh_user"]
    assert cluster["max_workers"] == len(cluster["provider"]["worker_ips"])


def test_the_head_starts_workers_and_every_start_names_its_authentication(cluster: Any) -> None:
    head, worker = cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]
    assert any("--autoscaling-config=~/ray_bootstrap_config.yaml" in c for c in head)
    starts = [c for c in (*head, *worker) if "ray start" in c]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=" in c for c in starts)
    assert all("RAY_worker_niceness=0" in c for c in starts), "streams and reads are not background work"


def test_metrics_ports_stay_out_of_the_worker_ports(cluster: Any) -> None:
    starts = " ".join([*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]])
    ports = [int(part.split("=")[1]) for part in starts.split() if part.startswith("--metrics-export-port=")]
    assert ports
    assert not any(10002 <= port <= 19999 for port in ports)
