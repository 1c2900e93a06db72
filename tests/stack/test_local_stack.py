from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from typer.testing import CliRunner

from cluster.config import KafkaConfig
from cluster.errors import Unreachable
from cluster.stack import manager, state
from cluster.stack.manager import ServiceStatus, StackStatus
from cluster.stack.process import HOST, free_port
from cluster.stores.kafka_admin import KafkaAdmin
from raytide.cli_stack import app

pytestmark = pytest.mark.stack


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / f"a path, with spaces: ünd {'very ' * 20}long" / ".raytide"
    yield place
    manager.down(place)
    assert ours(place) == []


def ours(folder: Path) -> list[int]:
    """Pids of processes that work inside the folder."""
    processes = psutil.process_iter(["pid", "cwd"])
    return [process.pid for process in processes if (process.info["cwd"] or "").startswith(str(folder))]


def service(found: StackStatus, name: str) -> ServiceStatus:
    return next(s for s in found.services if s.name == name)


def create_topic(servers: str, name: str, copies: int = 1) -> None:
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=copies)])
    admin.close()


def produce(servers: str, *values: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", reconnect_backoff_max_ms=1000)
    for value in values:
        producer.send("events", value).get(timeout=20)
    producer.close()


def consume(servers: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    consumer.assign([TopicPartition("events", 0)])
    values = [record.value for _, record in zip(range(count), consumer, strict=False)]
    consumer.close()
    return values


def logged_trouble(folder: Path) -> list[str]:
    lines = [line for log in (folder / "logs").glob("kafka-*") for line in log.read_text().splitlines()]
    return [line for line in lines if " WARN " in line or " ERROR " in line or line.startswith("WARNING")]


def test_one_broker_through_its_life(folder: Path) -> None:
    first = manager.up(folder, kafka_port=0, redis_port=0)
    assert first.running
    assert first.bootstrap_servers is not None
    assert first.redis_url is not None
    create_topic(first.bootstrap_servers, "events")
    produce(first.bootstrap_servers, b"one", b"two")
    assert consume(first.bootstrap_servers, 2) == [b"one", b"two"]
    client = redis.Redis.from_url(first.redis_url)
    assert client.set("a", "1")

    assert manager.up(folder, kafka_port=0, redis_port=0) == first, "nothing to do the second time"
    assert logged_trouble(folder) == []

    broker = service(first, "kafka-1")
    os.kill(broker.pid, signal.SIGKILL)
    repaired = manager.up(folder, kafka_port=0, redis_port=0)
    assert repaired.running
    assert service(repaired, "kafka-1").pid != broker.pid
    assert service(repaired, "valkey") == service(first, "valkey")
    assert repaired.bootstrap_servers == first.bootstrap_servers
    assert consume(first.bootstrap_servers, 2) == [b"one", b"two"]

    assert [s.name for s in manager.down(folder).services] == ["kafka-1", "valkey"]
    assert ours(folder) == []
    assert manager.status(folder) == StackStatus(None, None, ())

    again = manager.up(folder, kafka_port=0, redis_port=0)
    assert again.bootstrap_servers is not None
    produce(again.bootstrap_servers, b"three")
    assert consume(again.bootstrap_servers, 3) == [b"one", b"two", b"three"]
    with redis.Redis.from_url(str(again.redis_url)) as later:
        assert later.get("a") == b"1", "a planned stop keeps the values"
    client.close()


def test_a_crash_leaves_an_empty_valkey_never_an_old_one(folder: Path) -> None:
    def start() -> redis.Redis:
        return redis.Redis.from_url(str(manager.up(folder, redis_port=0, services={manager.VALKEY}).redis_url))

    with start() as client:
        client.set("a", "old")
    manager.down(folder)
    with start() as client:
        client.set("a", "new")
    (known,) = state.read(folder)
    os.kill(known.process.pid, signal.SIGKILL)
    with start() as client:
        assert client.get("a") is None


def test_a_taken_port_is_replaced_and_said(folder: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        found = manager.up(folder, redis_port=taken, services={manager.VALKEY})
        (valkey,) = found.services
        assert valkey.ports[0] != taken
        assert valkey.note == f"port {taken} is taken, {valkey.ports[0]} is used instead"
        assert found.bootstrap_servers is None
        with redis.Redis.from_url(str(found.redis_url)) as client:
            assert client.ping()


def test_a_service_that_cannot_start_shows_its_log(folder: Path) -> None:
    (folder / "valkey").mkdir(parents=True)
    (folder / "valkey" / "dump.rdb").write_bytes(b"not a dump")
    with pytest.raises(Unreachable, match=r"(?s)valkey ended.*The end of .*valkey\.log:.*loading the DB"):
        manager.up(folder, redis_port=0, services={manager.VALKEY})


def copies_of(servers: str, topic: str) -> tuple[int, str]:
    """Make a topic as the app does, and return how many copies there are and how many of them must have a record."""
    ours = KafkaAdmin(KafkaConfig(), servers)
    ours.create_topic(topic, 1)
    ours.close()
    admin = KafkaAdminClient(bootstrap_servers=servers.split(","))
    (partition,) = admin.describe_topics([topic])[0]["partitions"]
    settings = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")["topic"][topic]
    admin.close()
    return len(partition["replica_nodes"]), str(settings["min.insync.replicas"]["value"])


@pytest.mark.long
def test_three_brokers_bear_the_loss_of_one(folder: Path) -> None:
    found = manager.up(folder, brokers=3, kafka_port=0, services={manager.KAFKA})
    servers = str(found.bootstrap_servers)
    assert len(servers.split(",")) == 3
    create_topic(servers, "events", copies=3)
    assert copies_of(servers, "made-by-us") == (3, "2")
    produce(servers, b"one")
    os.kill(service(found, "kafka-2").pid, signal.SIGKILL)
    produce(servers, b"two")
    repaired = manager.up(folder, kafka_port=0, services={manager.KAFKA})
    assert [s.running for s in repaired.services] == [True] * 3
    assert [s.ports for s in repaired.services] == [s.ports for s in found.services]
    assert consume(servers, 2) == [b"one", b"two"]


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: demo\nkafka: {bootstrap_servers: 'elsewhere:9092'}\n")
    runner = CliRunner()
    assert runner.invoke(app, ["status"]).exit_code == 3
    try:
        up = runner.invoke(app, ["up", "--redis-port", str(free_port())])
        assert up.exit_code == 0
        assert "Not started" in up.output
        assert "kafka" in up.output
        status = runner.invoke(app, ["status", "--json"])
        assert status.exit_code == 0
        assert [s["name"] for s in json.loads(status.output)["services"]] == ["valkey"]
    finally:
        down = runner.invoke(app, ["down"])
    assert "Stopped: valkey" in down.output
    assert "Nothing was running" in runner.invoke(app, ["down"]).output
