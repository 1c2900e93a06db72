"""Definitions that change while everything runs: no record lost, repeated, or computed by a version that it does not name."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from kafka import KafkaProducer

from raytide.client import RaytideClient
from tests.stack.conftest import ROOT, RunningApp, running_app

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

TOPIC = "apply.clicks"
#: A source of its own beside the demo's, whose one feature says which version computed it.
MORE = f"""

clicks = StreamSource("clicks", "{TOPIC}", Wide("user", "at", (Field("n", DType.INT64),)))
STAMP = {{stamp}}


@feature(mode="numpy")
def stamp(n):
    return np.full(len(n), float(STAMP))


clicked = FeatureView("clicked", user, clicks, [stamp], online=True)
"""


def eventually(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)  # it happens in other processes, and asking is how one learns of it
    return found


class Clicks:
    """Sends as fast as a producer does, until `stop`; counts what Kafka acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush()
        self._producer.close()

    def go_on(self) -> None:
        """Return when some thousands more were acknowledged."""
        before = self.acknowledged
        eventually(lambda: self.acknowledged > before + 5_000)

    def _run(self) -> None:
        while not self._stop.is_set():
            at = time.time_ns() // 1000
            for n in range(100):
                record = json.dumps({"user": f"click_{n}", "at": at, "n": n}).encode()
                self._producer.send(TOPIC, key=f"click_{n}".encode(), value=record).add_callback(self._count)

    def _count(self, _: object) -> None:
        self.acknowledged += 1


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app of its own: what is applied here would be seen by the tests on the shared one."""
    with running_app(tmp_path_factory.mktemp("apply")) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the demo's project."""
    return Path(shutil.copytree(ROOT / "examples" / "demo", tmp_path / "project"))


@pytest.fixture
def before(app: RunningApp) -> Iterator[int]:
    """The version in force, which is in force again afterwards."""
    [*_, newest] = app.ask("registry", "versions", "--project", str(ROOT / "examples" / "demo"))
    yield newest["version"]
    app.raytide("registry", "rollback", str(newest["version"]), "--project", str(ROOT / "examples" / "demo"))


def write(project: Path, stamp: int) -> None:
    demo = (ROOT / "examples" / "demo" / "definitions.py").read_text(encoding="utf-8")
    (project / "definitions.py").write_text(demo + MORE.format(stamp=stamp), encoding="utf-8")


def apply(app: RunningApp, project: Path, stamp: int) -> Any:
    """Apply definitions that stamp this number; the registry has to give them the same."""
    write(project, stamp)
    done = app.ask("apply", "--project", str(project), "-m", f"stamps {stamp}")
    assert (done["version"], done["behind"]) == (stamp, [])
    return done


def states(client: RaytideClient) -> set[str]:
    return {p.state for p in client.status().partitions if p.topic == TOPIC}


def test_every_row_is_computed_by_the_version_that_it_names(app: RunningApp, project: Path, before: int) -> None:
    with RaytideClient(app.remembered()["gateway"]) as client:
        planned = {(c["action"], c["kind"], c["name"]) for c in plan(app, project, before + 1)}
        assert ("added", "feature", "clicked:stamp") in planned
        apply(app, project, before + 1)
        eventually(lambda: states(client) == {"RUNNING"})
        with Clicks(str(app.ask("stack", "status")["bootstrap_servers"])) as clicks:
            for stamp in (before + 2, before + 3):
                clicks.go_on()
                apply(app, project, stamp)
            clicks.go_on()
        assert app.verify()["ok"]
        rows = client.sql(
            """SELECT registry_version AS version, value, count(*) AS n FROM features JOIN sources USING (source_id)
            WHERE feature_name = 'stamp' GROUP BY ALL ORDER BY ALL"""
        ).to_pylist()
        assert [row["version"] for row in rows] == [before + 1, before + 2, before + 3]
        assert all(row["value"] == row["version"] for row in rows)
        assert sum(row["n"] for row in rows) == clicks.acknowledged
        newest = app.ask("get-online", "click_7", "-f", "clicked:stamp")
        assert str(float(before + 3)) in json.dumps(newest)


def plan(app: RunningApp, project: Path, stamp: int) -> list[Any]:
    write(project, stamp)
    return list(app.ask("plan", "--project", str(project))["changes"])


def test_a_source_that_no_version_has_any_more_is_read_no_more(app: RunningApp, project: Path, before: int) -> None:
    with RaytideClient(app.remembered()["gateway"]) as client:
        apply(app, project, before + 1)
        eventually(lambda: states(client) == {"RUNNING"})
        app.raytide("registry", "rollback", str(before), "--project", str(project))
        eventually(lambda: states(client) == set())
        assert client.status().registry_version == before + 2
        assert app.verify()["ok"]


def test_what_cannot_follow_is_refused_and_nothing_changes(app: RunningApp, project: Path, before: int) -> None:
    demo = (project / "definitions.py").read_text(encoding="utf-8")
    assert 'topic="raytide.orders"' in demo
    (project / "definitions.py").write_text(demo.replace('topic="raytide.orders"', 'topic="other"'), encoding="utf-8")
    refused = app.raytide("apply", "--project", str(project), check=False)
    assert refused.returncode == 2
    assert "declare another source" in " ".join(refused.stderr.split())
    assert app.raytide("plan", "--project", str(project), check=False).returncode == 1
    with RaytideClient(app.remembered()["gateway"]) as client:
        assert client.status().registry_version == before
