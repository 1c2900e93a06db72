"""A process that is there and does nothing is replaced by itself, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import psutil
import pytest
from kafka import KafkaProducer

from tests.stack.conftest import RunningApp

pytestmark = [pytest.mark.stack, pytest.mark.fault, pytest.mark.timeout(300), pytest.mark.long]

TOPIC = "raytide.features"


@pytest.fixture
def producer(app: RunningApp) -> Iterator[KafkaProducer]:
    ready = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all", linger_ms=5)
    yield ready
    ready.close()


@pytest.mark.parametrize("victim", [f"partition:{TOPIC}:0", "writer", "supervisor"])
def test_a_frozen_process_is_replaced(app: RunningApp, producer: KafkaProducer, victim: str) -> None:
    marker, total = uuid.uuid4().hex, 4_000
    frozen = psutil.Process(process_of(app, victim))
    for n in range(total):
        if n == total // 2:
            os.kill(frozen.pid, signal.SIGSTOP)
        record = {
            "entity_id": f"frozen-{n % 50}-{marker}",
            "feature_name": "account_balance",
            "value": n,
            "validated_at": "2026-01-31T12:00:00Z",
        }
        producer.send(TOPIC, key=b"%d" % (n % 50), value=json.dumps(record).encode())
    producer.flush(30)
    eventually(lambda: not frozen.is_running())
    eventually(lambda: process_of(app, victim) not in (0, frozen.pid))
    eventually(lambda: app.raytide("status", check=False).returncode == 0)
    if victim.startswith("partition"):
        notes = [p["note"] for p in app.ask("status")["partitions"] if p["actor"] == victim]
        assert "replaced" in notes[0], "status says what happened"
    app.verify()
    counted = app.ask(
        "sql", f"SELECT count(*) AS n, count(DISTINCT value) AS d FROM features WHERE entity_id LIKE '%-{marker}'"
    )
    assert counted == [{"n": total, "d": total}]


def eventually(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def process_of(app: RunningApp, actor: str) -> int:
    """Return the process id of an actor, as the Ray dashboard has it; 0 while it has none."""
    with urllib.request.urlopen(f"{app.remembered()['dashboard']}/logical/actors", timeout=30) as answer:  # noqa: S310 - ours
        actors = json.load(answer)["data"]["actors"].values()
    return next((int(a["pid"]) for a in actors if a["name"] == actor and a["state"] == "ALIVE"), 0)
