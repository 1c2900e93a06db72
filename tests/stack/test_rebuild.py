"""Redis comes back empty while events arrive: it is noticed and filled again, and can be filled on demand."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psutil
import pytest
import redis
from kafka import KafkaProducer

from cluster.rebuild import FULL
from tests.stack.conftest import RunningApp

#: The fault matrix empties Redis too, and its short version runs with the other tests.
pytestmark = [pytest.mark.stack, pytest.mark.fault, pytest.mark.timeout(300), pytest.mark.long]

TOPIC = "raytide.features"
SECONDS = 90.0


def record(entity: str, value: float) -> bytes:
    row = {"entity_id": entity, "feature_name": "account_balance", "value": value, "id": str(uuid.uuid4())}
    return json.dumps({**row, "validated_at": datetime.now(UTC).isoformat()}).encode()


@contextmanager
def traffic(app: RunningApp) -> Iterator[str]:
    """Send events until the block ends; give the marker in their entities' names."""
    marker, stop = uuid.uuid4().hex, threading.Event()
    producer = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all", linger_ms=5)

    def send() -> None:
        sent = 0
        while not stop.wait(0.01):  # the pace of the traffic
            for n in range(sent, sent + 20):
                entity = f"empty-{n % 700}-{marker}"
                producer.send(TOPIC, key=entity.encode(), value=record(entity, n))
            sent += 20

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield marker
    finally:
        stop.set()
        sending.join()
        producer.flush(30)
        producer.close()


def server(app: RunningApp) -> redis.Redis:
    return redis.Redis.from_url(app.ask("stack", "status")["redis_url"], decode_responses=True)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def is_full(app: RunningApp) -> bool:
    filled = str(server(app).get("raytide:marker")).startswith(FULL)
    return filled and app.ask("status")["online"]["state"] == "OK"


def valkey(app: RunningApp) -> psutil.Process:
    """Return the local stack's server, by the process id that the stack remembers."""
    remembered = json.loads((app.folder / ".raytide" / "stack.json").read_text(encoding="utf-8"))
    (pid,) = [service["process"]["pid"] for service in remembered["services"] if service["name"] == "valkey"]
    return psutil.Process(pid)


@pytest.fixture
def settled(app: RunningApp) -> RunningApp:
    """The app once it has some history that its Redis holds."""
    with traffic(app):
        until(lambda: is_full(app), "the online store was never filled")
    app.verify()
    return app


def test_a_killed_redis_is_noticed_and_filled_while_events_arrive(settled: RunningApp) -> None:
    app, process = settled, valkey(settled)
    with traffic(app) as marker:
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: app.ask("status")["online"]["state"] == "AWAY", "its absence was not told")
        app.raytide("stack", "up")
        until(lambda: is_full(app), "it was not filled again")
        app.verify()
    report = app.verify()
    assert report["ok"]
    stored = app.ask("sql", f"SELECT count(*) > 0 AS some FROM features WHERE entity_id LIKE 'empty-%-{marker}'")
    assert stored == [{"some": True}]


def test_a_flushed_redis_is_noticed_and_filled_while_events_arrive(settled: RunningApp) -> None:
    app = settled
    with traffic(app):
        server(app).flushall()
        until(lambda: is_full(app), "it was not filled again")
        app.verify()
    assert app.verify()["ok"]


def test_it_is_filled_on_demand_as_often_as_asked(settled: RunningApp) -> None:
    app, store = settled, server(settled)
    victim = next(iter(store.scan_iter("entity:empty-*")))
    before = store.hgetall(victim)
    store.delete(victim)  # nobody notices
    for _ in range(2):
        answer = app.ask("rebuild-online")
        assert answer["state"] == "OK"
        assert answer["entities_done"] == answer["entities_total"] > 0
        assert store.hgetall(victim) == before
    assert "entities rebuilt" in app.raytide("rebuild-online").stdout
    assert app.verify()["ok"]
