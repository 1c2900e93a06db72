"""A real Prometheus beside a running app, with what `raytide up` wrote for it; and the walk-through of docs/monitoring.md."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaProducer

from cluster.monitoring import metrics as m
from raytide.client import RaytideClient
from tests.prometheus import Prometheus, program, prometheus
from tests.stack.conftest import RunningApp, environment, running_app

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420), pytest.mark.long]

FEATURES, ORDERS = "raytide.features", "raytide.orders"
EVENTS, GARBAGE = 2_000, 3_000
#: What is not there until something fails, or somebody asks for `raytide verify`.
NOT_ALWAYS = {m.REDIS_ERRORS.exported, m.ACTOR_RESTARTS.exported, m.VERIFIED.exported}
GOOD_ROW, BAD_ROW = b"u1,account_balance,1,2026-01-01T00:00:00Z\n", b"u1,account_balance,x,2026-01-01T00:00:00Z\n"
CSV = b"entity_id,feature_name,value,validated_at\n" + 9 * GOOD_ROW + BAD_ROW


@dataclass(frozen=True)
class World:
    """An app with traffic, one partition of it halted, and the Prometheus that watches it."""

    app: RunningApp
    prometheus: Prometheus

    def sum(self, metric: m.Counter, by: str) -> dict[tuple[str, ...], float]:
        """Return what was counted, by processes that have ended as well: tests come in any order, and one kills an actor."""
        return self.prometheus.query(f"sum by ({by}) (max_over_time({metric.exported}[1h]))")

    def max(self, metric: m.Gauge, by: str = "") -> dict[tuple[str, ...], float]:
        return self.prometheus.query(f"max by ({by}) ({metric.exported})")

    def names(self) -> set[str]:
        found = self.prometheus.query('count by (__name__) (last_over_time({__name__=~"ray_raytide_.+"}[1h]))')
        return {re.sub(r"_(bucket|sum|count)$", "", name) for (name,) in found}

    def dashboard(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.app.remembered()['dashboard']}{path}", timeout=30) as answer:  # noqa: S310 - ours
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    program("prometheus")  # a reason to skip comes before the app
    folder = tmp_path_factory.mktemp("monitored")
    with running_app(folder) as app, prometheus(folder / ".raytide/monitoring/prometheus.yml", folder) as server:
        eventually(server.is_ready, "Prometheus answers")
        send_files_and_records(app)
        with RaytideClient(app.remembered()["gateway"]) as client:
            eventually(lambda: statuses(client) == ["PRESENT", "NOT_FOUND"], "a value is online")
        yield World(app, server)


def send_files_and_records(app: RunningApp) -> None:
    """Send good records to one topic, garbage to a partition of the other, and a file with one bad row."""
    producer = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all", linger_ms=5)
    for n in range(EVENTS):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {"entity_id": "u1", "feature_name": "account_balance", "value": n, "validated_at": stamp, "created_at": stamp}
        producer.send(FEATURES, json.dumps(record).encode(), partition=n % 2)
    producer.send(ORDERS, b"{not json", partition=0)
    for _ in range(GARBAGE):
        producer.send(ORDERS, b"{not json", partition=1)
    producer.close()
    (app.folder / "history.csv").write_bytes(CSV)
    app.raytide("ingest", "history.csv", "--source", "features")


def statuses(client: RaytideClient) -> list[str]:
    (of_one,) = client.get_online_features(["account_balance"], ["u1", "nobody"]).statuses
    return [str(status) for status in of_one]


def eventually(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in time that {what}"
        time.sleep(0.5)


def test_every_metric_that_is_declared_arrives_and_no_other(world: World) -> None:
    declared = {metric.exported for metric in m.ALL}
    eventually(lambda: world.names() >= declared - NOT_ALWAYS, "all are there")
    assert world.names() <= declared


def test_what_arrives_is_what_happened(world: World) -> None:
    eventually(lambda: sum(world.sum(m.EVENTS, "topic").values()) == EVENTS, "events are counted")
    (stored,) = world.app.ask(
        "sql", "SELECT count(*) AS n FROM quarantine JOIN sources USING (source_id) WHERE kind = 'stream'"
    )
    rejects = {("malformed_json", ORDERS): stored["n"]}  # the first of the garbage was stored before there was too much of it
    eventually(lambda: world.sum(m.REJECTS, "topic, reason") == rejects, "rejects are counted")
    eventually(lambda: world.sum(m.UPLOAD_EVENTS, "source") == {("features",): 9}, "rows of files are counted")
    assert world.sum(m.UPLOAD_REJECTS, "source, reason") == {("wrong_type", "features"): 1}
    eventually(lambda: world.max(m.UPLOADS, "state")["DONE",] == 1, "the file is DONE")
    assert {status for (status,) in world.sum(m.ONLINE_VALUES, "status")} >= {"PRESENT", "NOT_FOUND"}
    assert world.max(m.WRITER_UP) == {(): 1}
    freshness = f"histogram_quantile(0.99, sum by (le) ({m.FRESHNESS.exported}_bucket))"
    eventually(lambda: 0 < world.prometheus.query(freshness)[()] < 3600, "freshness is measured")


def test_a_halted_partition_is_told_by_everything(world: World) -> None:
    """Prometheus wakes somebody, who asks `raytide status`: what it is, why, and how it goes on are in its first lines."""
    eventually(lambda: world.max(m.HALTED, "topic, partition").get(("1", ORDERS)) == 1, "the gauge says so")
    eventually(lambda: "RaytidePartitionHalted" in world.prometheus.firing(), "that alert fires")
    behind = next(p["lag"] for p in world.app.ask("status")["partitions"] if (p["topic"], p["partition"]) == (ORDERS, 1))
    eventually(lambda: world.max(m.LAG_RECORDS, "topic, partition").get(("1", ORDERS)) == behind > 0, "how far it is behind")
    (what,) = [line for line in told(world.app) if line.startswith("!")]
    assert re.match(
        rf"! {re.escape(ORDERS)}\[1\] is HALTED: .* records in a row were rejected .* most of them malformed_json", what
    )
    assert f"`raytide partitions resume {ORDERS} 1`" in what


def told(app: RunningApp) -> list[str]:
    """Return what `raytide status` prints, its sentences on one line each."""
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "status"],
        env={**environment(), "COLUMNS": "1000"},
        cwd=app.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_watching_without_a_terminal_writes_lines(world: World) -> None:
    command = [sys.executable, "-m", "cluster", "status", "--watch"]
    with subprocess.Popen(command, env=environment(), cwd=world.app.folder, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = [watching.stdout.readline() for _ in range(4)]  # two looks
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
    numbers, trouble = seen[::2], seen[1::2]
    assert all("partitions 1 HALTED, 3 RUNNING" in line and "writer RUNNING" in line for line in numbers)
    assert "events/s" in numbers[1]
    assert all(f"! {ORDERS}[1] is HALTED" in line for line in trouble)


def test_the_ray_dashboard_names_actors_and_pieces_of_files(world: World) -> None:
    actors = [actor for actor in world.dashboard("/logical/actors")["actors"].values() if actor["state"] == "ALIVE"]
    names = {actor["name"] for actor in actors}
    assert {"writer", "supervisor", "limiter", f"partition:{FEATURES}:0", f"partition:{ORDERS}:1"} <= names
    assert {actor["reprName"] for actor in actors} == names, "logs and errors call them by the same names"
    upload = world.app.ask("uploads", "list")[0]["upload_id"]
    name = f"upload:{upload}:0"
    tasks = world.dashboard(f"/api/v0/tasks?filter_keys=name&filter_predicates=%3D&filter_values={name}")["result"]["result"]
    assert {task["name"] for task in tasks} == {name}


def test_an_actor_that_comes_back_is_counted(world: World) -> None:
    victim = f"partition:{FEATURES}:0"
    actors = world.dashboard("/logical/actors")["actors"].values()
    os.kill(next(int(actor["pid"]) for actor in actors if actor["name"] == victim), signal.SIGKILL)
    eventually(lambda: world.sum(m.ACTOR_RESTARTS, "actor") == {("partition",): 1}, "one is counted")


def test_ray_writes_its_own_dashboards_beside_ours(world: World) -> None:
    folder = world.app.folder / ".raytide/monitoring/grafana/dashboards"
    assert {"raytide.json", "default_grafana_dashboard.json"} <= {path.name for path in folder.iterdir()}
