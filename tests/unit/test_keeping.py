"""Another keeper for the one that died: when, and with which environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import keeping
from cluster.keeping import KeeperWatch
from cluster.ray_head import RayHead
from cluster.running import Running, alone
from cluster.stack.process import ProcessId, identify


class Started:
    """What was started instead of keepers: this process itself, which lives."""

    def __init__(self) -> None:
        self.environments: list[Mapping[str, str]] = []

    def spawn(self, _command: Sequence[str], _folder: Path, _output: Path, environment: Mapping[str, str]) -> ProcessId | None:
        self.environments.append(environment)
        return identify(os.getpid())


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(keeping, "spawn", found.spawn)
    monkeypatch.setattr(RayHead, "is_whole", lambda _self: True)
    return found


@pytest.fixture
def first() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that stands for the keeper which `raytide up` started."""
    environment = {**os.environ, "RAYTIDE_TRIED": "this"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as process:
        yield process
        process.kill()


@pytest.fixture
def app(tmp_path: Path, first: subprocess.Popen[bytes]) -> Path:
    """Give the folder of an app that is up, with that keeper."""
    here = identify(os.getpid())
    assert here is not None
    head = RayHead("127.0.0.1:1", "", here, "")
    Running("demo", "127.0.0.1:2", "", head.address, "", head, keeper=identify(first.pid)).write(tmp_path)
    return tmp_path


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def keeper(folder: Path) -> ProcessId | None:
    running = Running.read(folder)
    assert running is not None
    return running.keeper


def test_one_that_died_is_replaced_once_with_the_environment_that_it_had(
    app: Path, first: subprocess.Popen[bytes], started: Started
) -> None:
    watch = KeeperWatch(app)
    watch.look()
    assert not started.environments
    end(first)
    watch.look()
    watch.look()
    (environment,) = started.environments
    assert environment["RAYTIDE_TRIED"] == "this"
    assert keeper(app) == identify(os.getpid())


def test_nobody_knows_the_environment_of_one_that_died_before(
    app: Path, first: subprocess.Popen[bytes], started: Started
) -> None:
    end(first)
    KeeperWatch(app).look()
    assert not started.environments


def test_nothing_is_started_while_somebody_starts_or_stops_the_app(
    app: Path, first: subprocess.Popen[bytes], started: Started
) -> None:
    watch, dead = KeeperWatch(app), keeper(app)
    watch.look()
    end(first)
    with alone(app, lambda _: None):
        watch.look()
    assert not started.environments
    assert keeper(app) == dead
    watch.look()
    assert len(started.environments) == 1


def test_nothing_is_started_for_an_app_that_is_down_or_not_up_yet(
    app: Path, first: subprocess.Popen[bytes], started: Started
) -> None:
    watch = KeeperWatch(app)
    watch.look()
    end(first)
    running = Running.read(app)
    assert running is not None
    replace(running, gateway="").write(app)
    watch.look()
    (app / ".raytide" / "app.json").unlink()
    watch.look()
    assert not started.environments


def test_one_that_ends_at_once_is_tried_again(
    app: Path, first: subprocess.Popen[bytes], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = KeeperWatch(app)
    watch.look()
    end(first)
    with monkeypatch.context() as broken:
        broken.setattr(keeping, "spawn", lambda *_: None)
        watch.look()
    watch.look()
    assert len(started.environments) == 1


def test_one_that_nobody_would_know_of_is_stopped_and_another_tried(
    app: Path, first: subprocess.Popen[bytes], started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, dead, stopped = KeeperWatch(app), keeper(app), list[ProcessId]()
    watch.look()
    end(first)

    def full(_self: Running, _folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Running, "write", full)
        disk.setattr(keeping, "stop", lambda processes, _seconds: stopped.extend(processes))
        watch.look()
    assert stopped == [identify(os.getpid())]
    assert keeper(app) == dead
    watch.look()
    assert keeper(app) == identify(os.getpid())
    assert len(started.environments) == 2
