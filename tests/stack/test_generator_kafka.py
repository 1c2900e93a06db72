from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from cluster.stack import manager
from generator.drive import run
from generator.profiles import FEATURES_TOPIC, ORDERS_TOPIC, Profile, Settings
from generator.tally import Report, Sent

pytestmark = pytest.mark.stack

Position = tuple[str, int, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A broker of our own, since this module counts everything in the topics, and kills it."""
    place = tmp_path_factory.mktemp("generator") / ".raytide"
    servers = manager.up(place, kafka_port=0, services={manager.KAFKA}).bootstrap_servers
    admin = KafkaAdminClient(bootstrap_servers=servers)
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1) for name in (FEATURES_TOPIC, ORDERS_TOPIC)])
    admin.close()
    yield place
    manager.down(place)


@pytest.fixture
def log(folder: Path) -> Iterator[Log]:
    reader = Log(str(manager.status(folder).bootstrap_servers))
    yield reader
    reader.close()


class Log:
    """What a test added to the topics."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._consumer = KafkaConsumer(bootstrap_servers=servers, reconnect_backoff_max_ms=500)
        self._parts = [TopicPartition(topic, n) for topic in (FEATURES_TOPIC, ORDERS_TOPIC) for n in (0, 1)]
        self._consumer.assign(self._parts)
        self._from = self._consumer.end_offsets(self._parts)

    def read(self) -> list[Any]:
        for part, offset in self._from.items():
            self._consumer.seek(part, offset)
        ends, found = self._consumer.end_offsets(self._parts), []
        while any(self._consumer.position(part) < ends[part] for part in self._parts):
            found += [record for records in self._consumer.poll(timeout_ms=500).values() for record in records]
        return found

    def close(self) -> None:
        self._consumer.close()


def test_the_log_holds_what_the_report_and_the_observer_say(log: Log) -> None:
    seen: dict[Position, Sent] = {}
    profile = Profile(rate=0, orders=0.3, bad=0.1, late=0.05, duplicate=0.05, out_of_order=0.05)
    report = run(
        Settings(log.servers, profile=profile, count=2_000), lambda s: seen.update({(s.topic, s.partition, s.offset): s})
    )
    assert (report.acknowledged, report.ok) == (2_000, True)
    records = {(r.topic, r.partition, r.offset): r for r in log.read()}
    assert records.keys() == seen.keys()
    assert len(records) == 2_000
    for position, record in records.items():
        headers = dict(record.headers)
        assert record.value == seen[position].value
        assert headers == {"id": seen[position].message_id.encode(), "content-type": b"application/json"}
    counted = {(p.topic, p.partition): p.acknowledged for p in report.partitions}
    for place, count in counted.items():
        assert count == sum(position[:2] == place for position in records)
    assert sum(sent.event is None for sent in seen.values()) == sum(report.bad.values())


def test_the_same_seed_sends_the_same(log: Log) -> None:
    settings = Settings(
        log.servers, profile=Profile(rate=0, bad=0.1), count=300, seed=7, start=datetime(2026, 1, 1, tzinfo=UTC)
    )
    run(settings)
    run(settings)
    values = sorted((r.key, r.value or b"") for r in log.read())
    assert values[::2] == values[1::2]
    assert len(values) == 600


def test_keyed_messages_keep_their_order(log: Log) -> None:
    run(Settings(log.servers, profile=Profile(rate=0), count=1_000, entities=10))
    last: dict[bytes, str] = {}
    for record in log.read():
        time = json.loads(record.value)["created_at"]
        assert time > last.get(record.key, "")
        last[record.key] = time
    assert len(last) == 10


def start_command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Run the command in the folder of the stack, so that it finds the brokers by itself."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "generator", "--no-uploads", *arguments],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_flushes_and_reports(folder: Path, log: Log, number: signal.Signals) -> None:
    with start_command(folder, "--rate", "50", "--json") as process:
        while not log.read():
            assert process.poll() is None
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    content = json.loads(output)
    assert process.returncode == 0
    assert content["sent"] == content["acknowledged"] == len(log.read())


def test_the_command_reports_in_words(folder: Path) -> None:
    with start_command(folder, "--count", "20", "--rate", "0") as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "acknowledged 20 of 20" in output


def test_nobody_at_the_brokers_address_is_exit_3(folder: Path) -> None:
    with start_command(folder, "--bootstrap-servers", "127.0.0.1:9", "--count", "1") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "127.0.0.1:9" in errors
    assert "Traceback" not in errors


def test_a_broker_that_dies_and_comes_back_loses_nothing_acknowledged(folder: Path, log: Log) -> None:
    before = manager.status(folder).services[0]
    seen: set[Position] = set()
    stop, done = threading.Event(), []
    settings = Settings(log.servers, profile=Profile(rate=300))

    def drive() -> None:
        done.append(run(settings, lambda s: seen.add((s.topic, s.partition, s.offset)), stop))

    thread = threading.Thread(target=drive)
    thread.start()
    wait_until(lambda: len(seen) > 200)
    psutil.Process(before.pid).kill()
    manager.up(folder, services={manager.KAFKA})
    reached = len(seen)
    wait_until(lambda: len(seen) > reached + 300)
    stop.set()
    thread.join(timeout=30)
    (report,) = done
    assert isinstance(report, Report)
    assert report.acknowledged == len(seen)
    assert report.acknowledged + report.failed == report.sent
    assert seen <= {(r.topic, r.partition, r.offset) for r in log.read()}


def wait_until(condition: Any) -> None:
    patience = threading.Event()
    for _ in range(600):
        if condition():
            return
        patience.wait(0.1)
    raise AssertionError("waited for a minute in vain")
