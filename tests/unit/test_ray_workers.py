from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster import ray_workers
from cluster.errors import Misconfigured
from raytide.cli_cluster import app

FILE = """
provider: {type: local, head_ip: 192.0.2.1, worker_ips: [192.0.2.2, 192.0.2.3]}
auth: {ssh_user: ray, ssh_private_key: ~/.ssh/some_key}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ray_config.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file that a stand-in for ssh writes its arguments to; it does not reach 192.0.2.3."""
    said = tmp_path / "said"
    command = tmp_path / "bin" / "ssh"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {said}\ncase "$*" in *192.0.2.3*) echo "no route" >&2; exit 255;; esac\n')
    command.chmod(0o700)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    return said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray leaves the file that it read open
def test_workers_that_were_added_are_known_to_the_launcher_beside_those_that_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "state"
    monkeypatch.setattr("ray.autoscaler._private.local.node_provider.get_state_path", lambda _: str(known))
    monkeypatch.setattr("ray.autoscaler._private.local.node_provider.get_lock_path", lambda _: str(tmp_path / "lock"))
    file.write_text(f"cluster_name: raytide\n{FILE}")
    for _ in range(2):
        assert CliRunner().invoke(app, ["add-workers", str(file)]).output.splitlines() == [
            "192.0.2.2: known",
            "192.0.2.3: known",
        ]
    states = json.loads(known.read_text())
    states["192.0.2.2"]["state"] = "running"
    known.write_text(json.dumps(states))
    file.write_text(f"cluster_name: raytide\n{FILE}".replace("192.0.2.3]", "192.0.2.3, 192.0.2.4]"))
    assert CliRunner().invoke(app, ["add-workers", str(file)]).exit_code == 0
    found = {address: one["state"] for address, one in json.loads(known.read_text()).items()}
    assert found == {"192.0.2.1": "terminated", "192.0.2.2": "running", "192.0.2.3": "terminated", "192.0.2.4": "terminated"}


def test_workers_are_stopped_each_and_one_that_cannot_be_is_named(file: Path, ssh: Path) -> None:
    done = CliRunner().invoke(app, ["stop-workers", str(file)])
    assert done.exit_code == 1
    assert done.output == "192.0.2.2: stopped\n192.0.2.3: exit 255: no route\n"
    lines = sorted(ssh.read_text().splitlines())
    assert len(lines) == 2
    assert all("BatchMode=yes" in line and f"-i {Path.home()}/.ssh/some_key ray@192.0.2." in line for line in lines)
    assert all("source ~/.bashrc; ray stop" in line for line in lines)


def test_a_cluster_without_workers_is_said(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("provider: {type: local, worker_ips: []}\nauth: {ssh_user: ray}\n")
    done = CliRunner().invoke(app, ["stop-workers", str(file)])
    assert (done.exit_code, done.output.strip().endswith("names no workers")) == (0, True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("provider: {type: aws}\n", "names no worker_ips"),
        ("provider: {type: local, worker_ips: []}\n", "auth.ssh_user is missing"),
    ],
)
def test_a_file_that_it_cannot_use_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(content)
    with pytest.raises(Misconfigured, match=said):
        ray_workers.read(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"there is no .*f\.yaml: name the file that was given to `ray up`"):
        ray_workers.read(tmp_path / "f.yaml")
