"""Rejected records on real parts: in their topic, in the lists, and replayed once they pass.

The app is shared, so each test uses entities, keys and positions of its own.
"""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from cluster.config import IngestConfig
from cluster.stack import manager, state
from raytide.client import RaytideClient
from tests.stack.conftest import RunningApp

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

TOPIC = "raytide.features"
#: How much longer than the tolerated skew a record's time lies ahead: it is rejected now and passes soon.
SOON_S = 20


def eventually(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def record(entity: str, value: Any, at: pd.Timestamp) -> bytes:
    fields = {"entity_id": entity, "feature_name": "account_balance", "value": value, "validated_at": at.isoformat()}
    return json.dumps(fields).encode()


def soon() -> pd.Timestamp:
    return pd.Timestamp.now(tz="UTC") + pd.Timedelta(seconds=IngestConfig().max_future_skew_s + SOON_S)


def gateway_of(app: RunningApp) -> int:
    """Return the process id of the gateway, as the Ray dashboard has it."""
    with urllib.request.urlopen(f"{app.remembered()['dashboard']}/logical/actors", timeout=30) as answer:  # noqa: S310 - ours
        actors = json.load(answer)["data"]["actors"].values()
    (found,) = [a for a in actors if a["name"].startswith("gateway:") and a["state"] != "DEAD"]
    return int(found["pid"])


@pytest.fixture
def client(app: RunningApp) -> Iterator[RaytideClient]:
    with RaytideClient(app.remembered()["gateway"]) as ready:
        yield ready


@pytest.fixture
def bootstrap(app: RunningApp) -> str:
    return str(app.ask("stack", "status")["bootstrap_servers"])


@pytest.fixture
def send(bootstrap: str) -> Iterator[Callable[..., Any]]:
    """Send to partition 1 with a producer that is not ours; return where the record is."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")

    def send_one(value: bytes | None, key: bytes, **options: Any) -> Any:
        return producer.send(TOPIC, key=key, value=value, partition=1, **options).get(10)

    yield send_one
    producer.close()


def letters_with(bootstrap: str, key: bytes, count: int) -> list[Any]:
    """Return the messages of the dead-letter topic with this key, once there are `count` offsets of them."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=1_000)
    consumer.assign([TopicPartition(f"{TOPIC}.dead-letters", 0)])
    found: dict[bytes, Any] = {}

    def look() -> bool:
        consumer.seek_to_beginning()
        for message in consumer:
            if message.key == key:
                found[dict(message.headers)["source-offset"]] = message
        return len(found) >= count

    eventually(look)
    consumer.close()
    return [found[offset] for offset in sorted(found, key=int)]


def test_a_rejected_record_is_in_its_topic_with_headers(app: RunningApp, bootstrap: str, send: Callable[..., Any]) -> None:
    key = uuid.uuid4().hex.encode()
    first = send(b'{"entity_id": "\xff"}', key, headers=[("id", b"\x00\x01"), ("reason", b"mine")])
    second = send(None, key)
    broken, gone = letters_with(bootstrap, key, 2)
    assert (broken.value, gone.value) == (b'{"entity_id": "\xff"}', None)
    assert broken.headers[:2] == [("id", b"\x00\x01"), ("reason", b"mine")]
    assert dict(broken.headers[2:]) == {
        "source-topic": TOPIC.encode(),
        "source-partition": b"1",
        "source-offset": str(first.offset).encode(),
        "reason": b"invalid_utf8",
        "detail": b"not UTF-8 at byte 15",
        "registry-version": str(app.version()).encode(),
    }
    assert dict(gone.headers)["source-offset"] == str(second.offset).encode()
    shown = app.ask("dead-letters", "show", f"{TOPIC}/1/{first.offset}")
    assert (shown["payload_encoding"], shown["reason"], shown["key"]) == ("hex", "invalid_utf8", key.decode())
    assert bytes.fromhex(shown["payload"]) == broken.value
    app.verify()


def test_a_record_is_replayed_when_it_passes_and_only_once(
    app: RunningApp, client: RaytideClient, send: Callable[..., Any]
) -> None:
    entity = f"user_{uuid.uuid4().hex}"
    at = soon()
    sent = send(record(entity, 4.5, at), entity.encode())
    place = f"{TOPIC}/1/{sent.offset}"
    chosen = ("--reason", "time_in_future", "--source", "features")

    def is_listed() -> bool:
        letters = app.ask("dead-letters", "list", *chosen, "--open")["letters"]
        return place in {letter["place"] for letter in letters}

    eventually(is_listed)
    assert json.loads(app.ask("dead-letters", "show", place)["payload"])["entity_id"] == entity
    refused = app.raytide("dead-letters", "replay", place, "--json", check=False)
    if time.time() < at.timestamp() - IngestConfig().max_future_skew_s:  # a slow machine may be past it
        assert (refused.returncode, json.loads(refused.stdout)["rejected"]) == (1, {"time_in_future": 1})
    eventually(lambda: time.time() > at.timestamp() - IngestConfig().max_future_skew_s)
    rows = f"SELECT count(*) AS n FROM features WHERE entity_id = '{entity}'"
    would = app.raytide("dead-letters", "replay", place, "--dry-run")
    assert f"would be replayed under version {app.version()}" in would.stdout
    if refused.returncode:
        assert client.sql(rows).to_pylist() == [{"n": 0}]
        assert app.ask("dead-letters", "replay", place)["replayed"] == 1
    assert app.ask("dead-letters", "replay", place)["total"] == 0, "it is done"
    assert client.sql(rows).to_pylist() == [{"n": 1}]
    assert client.get_online_features(["account_balance"], [entity]).to_dict()["account_balance"] == [4.5]
    lineage = client.sql(
        "SELECT s.kind, s.topic, s.partition, f.position, s.registry_version, epoch_us(f.created_at) // 1000 AS created "
        f"FROM features f JOIN sources s USING (source_id) WHERE entity_id = '{entity}'"
    ).to_pylist()
    where = {"kind": "replay", "topic": TOPIC, "partition": 1, "position": sent.offset, "registry_version": app.version()}
    assert lineage == [{**where, "created": sent.timestamp}], "the message's time, as if it had passed at once"
    assert app.ask("dead-letters", "show", place)["replayed_at"] is not None
    app.verify()


def test_rejected_lines_of_a_file_are_replayed_too(app: RunningApp, client: RaytideClient, tmp_path: Path) -> None:
    entity = f"user_{uuid.uuid4().hex}"
    at = soon()
    file = tmp_path / "rows.jsonl"
    file.write_bytes(record(entity, 1, pd.Timestamp("2026-01-01", tz="UTC")) + b"\n" + record(entity, 2, at) + b"\n{\n")
    done = app.ask("ingest", str(file), "--source", "features")["files"][0]
    assert (done["rows"], done["rejected"]) == (1, 2)
    eventually(lambda: time.time() > at.timestamp() - IngestConfig().max_future_skew_s)
    replayed = app.raytide("dead-letters", "replay", "--upload", done["upload_id"], check=False)
    assert replayed.returncode == 1
    assert f"1 of 2 replayed under version {app.version()}" in replayed.stdout
    assert "1 still rejected: malformed_json" in replayed.stdout
    assert client.get_online_features(["account_balance"], [entity]).to_dict()["account_balance"] == [2.0]
    left = app.ask("dead-letters", "list", "--upload", done["upload_id"], "--open")
    assert [letter["reason"] for letter in left["letters"]] == ["malformed_json"]
    app.verify()


@pytest.mark.fault
@pytest.mark.long
def test_a_replay_reaches_redis_though_both_redis_and_the_gateway_were_away(app: RunningApp, send: Callable[..., Any]) -> None:
    """The commit is durable, Redis frozen, and the gateway that knows of it dies: the next one finishes it."""
    entity, at = f"user_{uuid.uuid4().hex}", soon()
    sent = send(record(entity, 6.5, at), entity.encode())
    place = f"{TOPIC}/1/{sent.offset}"
    eventually(lambda: app.raytide("dead-letters", "show", place, check=False).returncode == 0)
    eventually(lambda: time.time() > at.timestamp() - IngestConfig().max_future_skew_s)
    (valkey,) = (s.process.pid for s in state.read(app.folder / ".raytide") if s.name == manager.VALKEY)
    os.kill(valkey, signal.SIGSTOP)
    try:
        done = app.ask("dead-letters", "replay", place)
        assert (done["replayed"], "is away" in done["note"]) == (1, True)
        pending = "SELECT count(*) AS n FROM replays WHERE state = 'COMMITTED'"
        assert app.ask("sql", pending) == [{"n": 1}]
        gateway = gateway_of(app)
        os.kill(gateway, signal.SIGKILL)
        eventually(lambda: gateway_of(app) not in {0, gateway})
    finally:
        os.kill(valkey, signal.SIGCONT)
    eventually(lambda: app.raytide("sql", pending, check=False).returncode == 0)
    eventually(lambda: app.ask("sql", pending) == [{"n": 0}])
    online = app.ask("get-online", entity, "-f", "account_balance")
    assert online["account_balance"] == [6.5]
    app.verify()


def test_wrong_filters_are_named(app: RunningApp) -> None:
    for arguments, message in (
        (("list", "--reason", "bad_tim"), "did you mean"),
        (("list", "--source", "featurs"), "selection.source"),
        (("list", "--since", "yesterday"), "--since is not a time"),
        (("show", "nowhere"), "TOPIC/PARTITION/OFFSET"),
        (("replay", f"{TOPIC}/1/x"), "TOPIC/PARTITION/OFFSET"),
    ):
        done = app.raytide("dead-letters", *arguments, check=False)
        assert done.returncode == 2, done.stderr
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
