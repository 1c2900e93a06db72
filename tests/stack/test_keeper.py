"""What nothing inside of Ray can mend: Ray itself ended, and the app comes back all the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from kafka import KafkaProducer

from cluster.errors import RaytideError
from raytide.client import RaytideClient
from tests.stack.conftest import ROOT, RunningApp, environment, running_app

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

FEATURES = "raytide.features"


class Project(RunningApp):
    """The demo project in a copy that a test may change."""

    def up(self) -> None:
        """Start what is missing."""
        self.raytide("up", "--project", "demo")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(ROOT / "examples" / "demo", folder / "demo")
    with running_app(folder, Project) as running:
        yield running


def eventually(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)  # it happens in other processes, and asking is how one learns of it
    return found


def send(app: RunningApp, entity: str) -> None:
    event = {"entity_id": entity, "feature_name": "user_age", "value": 1, "validated_at": "2026-01-01T00:00:00Z"}
    producer = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all")
    producer.send(FEATURES, key=entity.encode(), value=json.dumps(event).encode()).get(30)
    producer.close()


def is_stored(address: str, entity: str) -> bool:
    try:
        with RaytideClient(address, timeout_s=5) as client:
            return len(client.sql(f"SELECT * FROM features WHERE entity_id = '{entity}'")) == 1
    except RaytideError:
        return False


def test_an_app_whose_ray_ended_comes_back_on_its_port_with_the_definitions_in_force(app: RunningApp) -> None:
    app.up()
    before, version = app.remembered(), app.version()
    definitions = app.folder / "demo" / "definitions.py"
    whole = definitions.read_text(encoding="utf-8")
    definitions.write_text("what somebody is typing right now", encoding="utf-8")
    raylet = next(p for p in psutil.Process(before["head"]["process"]["pid"]).children() if p.name() == "raylet")
    raylet.kill()
    entity = uuid.uuid4().hex
    send(app, entity)
    assert eventually(lambda: is_stored(before["gateway"], entity))
    definitions.write_text(whole, encoding="utf-8")
    eventually(lambda: app.remembered()["head"] != before["head"])
    assert app.version() == version
    assert app.remembered()["keeper"] == before["keeper"]
    app.verify()


def test_the_supervisor_starts_another_keeper_which_starts_the_app_again(app: RunningApp) -> None:
    app.up()
    before = app.remembered()
    psutil.Process(before["keeper"]["pid"]).kill()
    again = eventually(lambda: app.remembered()["keeper"] != before["keeper"] and app.remembered()["keeper"])
    raylet = next(p for p in psutil.Process(before["head"]["process"]["pid"]).children() if p.name() == "raylet")
    raylet.kill()
    entity = uuid.uuid4().hex
    send(app, entity)
    assert eventually(lambda: is_stored(before["gateway"], entity))
    assert app.remembered()["keeper"] == again
    app.verify()


def test_up_and_down_wait_for_each_other_and_leave_no_keeper(app: RunningApp) -> None:
    app.up()
    keeper = app.remembered()["keeper"]["pid"]
    os.kill(keeper, signal.SIGKILL)
    command = [sys.executable, "-m", "cluster", "up", "--project", "demo"]
    up = [
        subprocess.Popen(command, cwd=app.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=180)[1] for process in up]
    assert [process.returncode for process in up] == [0, 0], said
    again = app.remembered()["keeper"]["pid"]
    assert again != keeper
    app.down()
    assert not psutil.pid_exists(again) or psutil.Process(again).status() == psutil.STATUS_ZOMBIE
    assert not (app.folder / ".raytide" / "app.json").exists()
