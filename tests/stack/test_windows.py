"""Windows online on real parts: a file of a year beside the stream, and the proof that online and history agree."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pandas as pd
import pytest
from kafka import KafkaProducer

from cluster.errors import RetryLater
from raytide.client import RaytideClient
from tests.stack.conftest import RunningApp, environment
from tests.stack.test_whole_path import FEATURES, eventually, long_record

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

CLICKS = "click_count_7d"
CHECK = "windows online are those of history"


@pytest.fixture
def client(app: RunningApp) -> Iterator[RaytideClient]:
    with RaytideClient(app.remembered()["gateway"]) as ready:
        yield ready


class Clicks:
    """Sends clicks of some entities, each of now, and remembers when they were."""

    def __init__(self, brokers: str, entities: list[str]) -> None:
        self.producer = KafkaProducer(bootstrap_servers=brokers, acks="all", linger_ms=5)
        self.times: dict[str, list[datetime]] = {entity: [] for entity in entities}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.producer.close()

    def _send(self) -> None:
        while not self._stop.wait(0.01):
            for entity, times in self.times.items():
                now = datetime.now(UTC)
                self.producer.send(FEATURES, key=entity.encode(), value=long_record(entity, "click", 1, pd.Timestamp(now)))
                times.append(now)
        self.producer.flush()


def year_of(entities: list[str], folder: Path) -> tuple[Path, dict[str, list[datetime]]]:
    """Write a file with three clicks of each entity on each of the last 365 days."""
    end = datetime.now(UTC).replace(microsecond=0)
    times = {entity: [end - timedelta(hours=8 * n + m) for n in range(3 * 365)] for m, entity in enumerate(entities)}
    rows = [(entity, "click", 1, at.isoformat(), at.isoformat()) for entity, found in times.items() for at in found]
    path = folder / "year.csv"
    columns = ["entity_id", "feature_name", "value", "validated_at", "created_at"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path, times


def counted(times: list[datetime], at: datetime) -> int:
    edge = (at - timedelta(days=7)).replace(minute=0, second=0, microsecond=0)
    return sum(edge < time <= at for time in times)


def test_a_year_of_history_in_a_file_while_clicks_flow(app: RunningApp, client: RaytideClient, tmp_path: Path) -> None:
    entities = [f"clicker_{n}_{uuid.uuid4().hex[:8]}" for n in range(5)]
    file, past = year_of(entities, tmp_path)
    with Clicks(app.ask("stack", "status")["bootstrap_servers"], entities) as clicks:
        eventually(lambda: client.get_online_features([CLICKS], entities).values[0].min() > 0)
        assert str(client.upload_file(file, source="features", format="csv").state) == "DONE"
        eventually(lambda: client.get_online_features([CLICKS], entities).values[0].min() > 3 * 7)
    app.verify()

    def are_right() -> bool:
        answer = client.get_online_features([CLICKS], [*entities, "nobody"])
        at = datetime.fromtimestamp(int(answer.event_timestamps[0][0]) / 1e6, UTC)
        expected = [counted(past[entity] + clicks.times[entity], at) for entity in entities]
        return bool(answer.values[0].tolist() == [*expected, 0])

    eventually(are_right)
    found = {check["name"]: check for check in app.ask("verify", "--full")["checks"]}[CHECK]
    assert (found["offenders"], found["checked"] >= len(entities)) == (0, True)


def test_windows_can_be_watched(app: RunningApp) -> None:
    command = [sys.executable, "-m", "cluster", "verify", "--watch", "--every", "0.2"]
    with subprocess.Popen(command, cwd=app.folder, env=environment(), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [watching.stdout.readline() for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert all(CHECK in line and "0 differ" in line for line in lines), lines


def test_a_rebuild_fills_windows_too(app: RunningApp, client: RaytideClient) -> None:
    entity = f"clicker_{uuid.uuid4().hex}"
    producer = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all")
    for _ in range(3):
        producer.send(FEATURES, key=entity.encode(), value=long_record(entity, "click", 1))
    producer.close()
    app.verify()
    app.raytide("rebuild-online")

    def is_three() -> bool:
        with contextlib.suppress(RetryLater):  # until its cells are filled
            return bool(client.get_online_features([CLICKS], [entity]).values[0].tolist() == [3])
        return False

    eventually(is_three)
