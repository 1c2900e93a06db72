"""`ray_config.yaml` is what Ray's own launcher accepts, and has what FACTS of the local provider demand."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config, with_envs

from cluster.placement import DISK

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
    assert all("RAY_AUTH_MODE=token" in c for c in starts)
    assert all("RAY_worker_niceness=0" in c for c in starts), "streams and reads are not background work"


def test_only_the_head_has_the_disk_and_the_older_autoscaler_after_what_the_launcher_exports(cluster: Any) -> None:
    (head,) = [c for c in cluster["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [c for c in cluster["worker_start_ray_commands"] if "ray start" in c]
    (given,) = with_envs([head], {"RAY_enable_autoscaler_v2": "1"})
    assert given.rindex("RAY_enable_autoscaler_v2=0") > given.rindex("RAY_enable_autoscaler_v2=1")
    assert f"--labels={DISK}=" in head
    assert DISK not in worker


def test_the_dashboard_is_on_loopback_and_the_token_for_its_owner(cluster: Any) -> None:
    (head,) = [c for c in cluster["head_start_ray_commands"] if "ray start" in c]
    assert "--dashboard-host=127.0.0.1" in head
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert any("chmod 600 ~/.ray/auth_token" in c for c in cluster["setup_commands"])


def test_what_set_up_and_the_app_need_is_mounted_and_nothing_large(cluster: Any) -> None:
    mounted = {source for target, source in cluster["file_mounts"].items() if target.startswith("~/raytide/")}
    assert all((ROOT / source).exists() for source in mounted)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = build["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {package.partition("/")[0] for package in packages} <= mounted
    assert {"Makefile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE"} <= mounted
    assert not {".", ".venv", ".git", ".raytide"} & mounted


def test_metrics_ports_stay_out_of_the_worker_ports(cluster: Any) -> None:
    starts = " ".join([*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]])
    ports = [int(part.split("=")[1]) for part in starts.split() if part.startswith("--metrics-export-port=")]
    assert ports
    assert not any(10002 <= port <= 19999 for port in ports)
