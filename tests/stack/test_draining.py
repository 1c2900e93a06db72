"""Stopping finishes what is in flight, keeps its deadline, and says what was left; the next start reads nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from kafka import KafkaProducer

from tests.stack.conftest import ROOT, RunningApp

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.fault, pytest.mark.timeout(300)]

TOPIC = "raytide.features"
ENDS = 'SELECT topic, "partition", epoch, next_offset FROM partitions'


@pytest.fixture
def producer(app: RunningApp) -> Iterator[KafkaProducer]:
    ready = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all", linger_ms=5)
    yield ready
    ready.close()


def send(producer: KafkaProducer, marker: str, count: int) -> None:
    for n in range(count):
        record = {
            "entity_id": f"drain-{n % 50}-{marker}",
            "feature_name": "account_balance",
            "value": n,
            "validated_at": "2026-01-31T12:00:00Z",
        }
        producer.send(TOPIC, key=b"%d" % (n % 50), value=json.dumps(record).encode())
    producer.flush(30)


@contextmanager
def traffic(producer: KafkaProducer, marker: str) -> Iterator[None]:
    """Send until the block ends."""
    stop = threading.Event()

    def drive() -> None:
        while not stop.is_set():
            send(producer, marker, 200)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_clean_stop_and_start_reads_no_event_twice(app: RunningApp, producer: KafkaProducer) -> None:
    marker = uuid.uuid4().hex
    eventually(lambda: {p["state"] for p in app.ask("status")["partitions"]} == {"RUNNING"})
    with traffic(producer, marker):
        stopped = app.raytide("down")
    assert stopped.stdout.strip() == "down", "nothing was left"
    file = str(app.folder / ".raytide" / "features.duckdb")
    with duckdb.connect(file, read_only=True) as database:
        found = database.sql(ENDS).fetchall()
        ends = {(topic, n): (epoch, end) for topic, n, epoch, end in found if topic.startswith("raytide.")}  # the demo's
        assert database.sql(f"SELECT count(*) > 0 FROM features WHERE entity_id LIKE 'drain-%-{marker}'").fetchall() == [
            (True,)
        ]
    app.up()
    send(producer, marker, 100)
    app.verify()
    read = {(p["topic"], p["partition"]): p for p in app.ask("status")["partitions"]}
    for key, (epoch, end) in ends.items():
        assert read[key]["epoch"] == epoch + 1
        assert read[key]["events"] == read[key]["next_offset"] - end, "each event after the end once, none before it"
    with_new = app.ask(
        "sql",
        "SELECT topic, s.partition, epoch, min(first_position) AS first FROM batches b JOIN sources s USING (source_id) "
        "WHERE kind = 'stream' GROUP BY ALL",
    )
    firsts = {(r["topic"], r["partition"], r["epoch"]): r["first"] for r in with_new}
    for (topic, n), (epoch, end) in ends.items():
        assert firsts.get((topic, n, epoch + 1), end) == end, "the first batch starts where the ledger ended"


@pytest.mark.parametrize("victim", [f"partition:{TOPIC}:0", "writer", "gateway:"])
def test_sigterm_to_an_actor_finishes_what_is_in_flight(app: RunningApp, producer: KafkaProducer, victim: str) -> None:
    marker = uuid.uuid4().hex
    before = process_of(app, victim)
    with traffic(producer, marker):
        os.kill(before, signal.SIGTERM)
        eventually(lambda: process_of(app, victim) not in (0, before))
    eventually(lambda: app.raytide("status", check=False).returncode == 0)
    app.verify()
    assert "finishing what is in flight" in logged(app, before)
    assert "Traceback" not in logged(app, before)


@pytest.mark.parametrize("frozen", ["writer", "valkey", "supervisor"])
def test_a_stop_keeps_its_deadline_and_says_what_was_left(app: RunningApp, producer: KafkaProducer, frozen: str) -> None:
    marker = uuid.uuid4().hex
    services = {s["name"]: s["pid"] for s in app.ask("stack", "status")["services"]}
    pid = services.get(frozen) or process_of(app, frozen)
    began = time.monotonic()
    with traffic(producer, marker):
        os.kill(pid, signal.SIGSTOP)
        try:
            threading.Event().wait(1)  # so that something is in flight; no other sign of it is left to wait for
            began = time.monotonic()
            stopped = app.raytide("down", "--seconds", "5", check=False)
        finally:
            if frozen == "valkey":
                os.kill(pid, signal.SIGCONT)
    took = time.monotonic() - began
    app.up()
    app.verify()
    left = "were read and not committed" in stopped.stdout or "writer: did not close" in stopped.stdout
    assert stopped.returncode == int(left), stopped.stdout + stopped.stderr
    assert left or frozen != "valkey"  # the others may have been replaced before they were told to stop
    assert "Traceback" not in stopped.stderr
    assert took < 40, "5 s, and Ray's own start and end on a machine under load"


def test_up_refuses_a_redis_that_is_not_there(app: RunningApp, tmp_path: Path) -> None:
    environment = {**os.environ, "RAYTIDE_ONLINE_STORE__CONNECTION_STRING": "redis://127.0.0.1:1/0"}
    environment["RAYTIDE_KAFKA__BOOTSTRAP_SERVERS"] = app.ask("stack", "status")["bootstrap_servers"]
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "up", "--project", str(ROOT / "examples" / "demo")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr
    assert "starting Ray" not in done.stderr


def eventually(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def process_of(app: RunningApp, actor: str) -> int:
    """Return the process id of an actor, found by the beginning of its name in the Ray dashboard; 0 while it has none."""
    with urllib.request.urlopen(f"{app.remembered()['dashboard']}/logical/actors", timeout=30) as answer:  # noqa: S310 - ours
        actors = json.load(answer)["data"]["actors"].values()
    return next((int(a["pid"]) for a in actors if a["name"].startswith(actor) and a["state"] == "ALIVE"), 0)


def logged(app: RunningApp, pid: int) -> str:
    """Return what a worker process wrote to its log in Ray's session folder."""
    folder = Path(app.remembered()["head"]["temp"])
    return "".join(f.read_text() for f in (folder / "session_latest" / "logs").glob(f"worker-*-{pid}.err"))
