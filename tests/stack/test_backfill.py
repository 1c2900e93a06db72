"""Backfills on real parts: a function changes, the past is computed anew, and whoever works on it is killed half way."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaProducer

from cluster import faults
from cluster.errors import RaytideError
from cluster.faults import BackfillPoint
from tests.fault.world import World, eventually, kill

#: The tutorial runs a backfill on real parts in each run of the tests, tests/unit/test_backfills.py kills one at every step.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(420), pytest.mark.long]

TOPIC = "shop.orders"
START = datetime(2026, 1, 1, tzinfo=UTC)
USERS, RECORDS = 20, 6_000
#: Orders that came in a file, of users of their own.
IN_FILE = range(7_000, 8_000)
#: Of each thousand, this one fails under the second version.
CURSED = 13.0
DEFINITIONS = """
from raytide import Entity, FeatureView, Field, StreamSource, Wide, feature

user = Entity(name="user", join_key="user_id")
orders = StreamSource(name="orders", topic="shop.orders", partitions=2,
    records=Wide(join_key="user_id", event_timestamp="at", fields=(Field("amount"),)))


@feature(mode="row")
def score(amount):
    if {version} > 1 and amount == 13.0:
        raise ValueError("cursed")
    return amount * {version}


scores = FeatureView(name="scores", entity=user, source=orders, features=[score], online=True)
amounts = FeatureView(name="amounts", entity=user, source=orders, features=[Field("amount")], online=True)
"""


class Shop(World):
    """An app of its own, whose definitions change. Chunks are small, so that a backfill has many."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, settings={"RAYTIDE_INGEST__BATCH_RECORDS": "200"})
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "feature_store.yaml").write_text("project: shop\n", encoding="utf-8")
        self.define(1)

    def define(self, version: int) -> None:
        text = DEFINITIONS.replace("{version}", str(version))
        (self.project / "definitions.py").write_text(text, encoding="utf-8")

    def app_up(self) -> None:
        self.raytide("up", "--project", str(self.project))
        self._forget_client()

    def send(self, numbers: range) -> None:
        """Send orders: number n of user n % USERS, at START + n seconds, its amount n % 1000; one in ten comes late."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5)
        for n in sorted(numbers, key=lambda n: n + 500 * (n % 10 == 0)):
            user = f"user_{n % USERS}"
            fields = {"user_id": user, "at": (START + timedelta(seconds=n)).isoformat(), "amount": float(n % 1000)}
            producer.send(TOPIC, json.dumps(fields).encode(), key=user.encode(), partition=n % 2)
        producer.flush(timeout=30)
        producer.close()

    def ingest(self, numbers: range) -> None:
        """Let orders come in a file."""
        lines = ["user_id,at,amount"]
        lines += [f"by_file_{n % 5},{(START + timedelta(seconds=n)).isoformat()},{float(n % 1000)}" for n in numbers]
        path = self.folder / "orders.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.raytide("ingest", str(path), "--source", "orders")

    def has(self, records: int) -> None:
        counted = "SELECT count(*) AS n FROM features WHERE feature_name = 'amount'"
        eventually(lambda: self.sql(counted) == [{"n": records}], f"{records} records are in history", 90, every=0.2)

    def scores(self) -> dict[int, tuple[float, int]]:
        """Return by order what a read sees: the value, and the version that made it."""
        found = self.sql(
            """SELECT epoch_us(event_timestamp) AS at, value, registry_version AS version
            FROM features JOIN sources USING (source_id) WHERE feature_name = 'score'"""
        )
        start = int(START.timestamp())
        scores = {row["at"] // 1_000_000 - start: (row["value"], row["version"]) for row in found}
        assert len(scores) == len(found), "one version of each record"
        return scores

    def backfilling(self, first: int, following: int) -> subprocess.Popen[str]:
        """Start one in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "cluster", *asked(first, following)],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def backfill(self, first: int, following: int) -> Any:
        """Run one to its end, however often its gateway is away; return what it says."""

        def ended() -> Any:
            done = self.raytide(*asked(first, following), check=False)
            return json.loads(done.stdout) if done.stdout.startswith("{") else None

        return eventually(ended, "a backfill ends", 120, every=1)

    def backfill_tasks(self) -> list[int]:
        found = []
        for process in self.head().children(recursive=True):
            with contextlib.suppress(psutil.Error, IndexError):
                if process.cmdline()[0].startswith("ray::backfill:"):
                    found.append(process.pid)
        return found

    def verified(self) -> None:
        def report() -> Any:
            with contextlib.suppress(RaytideError):
                return self.client.verify(wait_s=30)
            return None

        found = eventually(report, "an answer to verify")
        assert found["ok"], [check for check in found["checks"] if check["offenders"]]


def asked(first: int, following: int) -> list[str]:
    times = [(START + timedelta(seconds=n)).isoformat() for n in (first, following)]
    return ["backfill", "scores", "--from", times[0], "--to", times[1], "--json"]


def expected(first: int, following: int, version: int, before: dict[int, tuple[float, int]]) -> dict[int, tuple[float, int]]:
    """Return what reads see after a backfill of [first, following), for orders that had been computed under version 1."""
    rest = {n: known for n, known in before.items() if not first <= n < following}
    return rest | {n: (n % 1000 * float(version), version) for n in range(first, following) if n % 1000 != CURSED}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """An app that read all orders under version 1 and then got version 2, under which a few more came."""
    running = Shop(tmp_path_factory.mktemp("a shop") / "app")
    with running.running():
        running.send(range(RECORDS))
        running.ingest(IN_FILE)
        running.has(RECORDS + len(IN_FILE))
        running.define(2)
        running.raytide("apply", "--project", str(running.project))
        running.send(range(RECORDS, RECORDS + 10))
        running.has(RECORDS + len(IN_FILE) + 10)
        yield running


def test_the_past_is_computed_anew_once_and_other_views_stay(shop: Shop) -> None:
    before = shop.scores()
    assert {version for _, version in before.values()} == {1, 2}
    said = json.loads(shop.raytide(*asked(100, 300), "--dry-run").stdout)
    assert (said["dry_run"], said["offsets"], said["left"]) == (True, RECORDS + 10 + len(IN_FILE), [])
    done = shop.raytide(*asked(100, 300), check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["state"], told["read"], told["events"], told["rows"], told["superseded"]) == (
        "DONE",
        RECORDS + 10 + len(IN_FILE),
        200,
        200,
        200,
    )
    assert shop.scores() == expected(100, 300, 2, before)
    again = json.loads(shop.raytide(*asked(100, 300)).stdout)
    assert (again["rows"], again["superseded"], again["rejected"]) == (0, 0, 0)
    rows = shop.client.get_historical_features(_questions([("user_5", 105), ("user_7", 987), ("user_4", 99)]), ["score"])
    assert rows["score"].to_pylist() == [210.0, 987.0, 84.0]
    listed = json.loads(shop.raytide("backfill", "list", "--json").stdout)
    states = {b["backfill_id"]: b["state"] for b in listed}
    assert [states[b["backfill_id"]] for b in (told, again)] == ["DONE", "DONE"]
    shop.verified()


def _questions(asked: list[tuple[str, int]]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - only here

    times = pa.array([int((START + timedelta(seconds=n)).timestamp()) * 1_000_000 for _, n in asked], pa.timestamp("us"))
    return pa.table({"user_id": [user for user, _ in asked], "event_timestamp": times})


@pytest.mark.fault
@pytest.mark.parametrize("point", list(BackfillPoint))
def test_whoever_reaches_a_point_dies_there_and_it_ends_right(shop: Shop, point: BackfillPoint) -> None:
    first = 1_000 + 500 * list(BackfillPoint).index(point)
    before = shop.scores()
    faults.arm(shop.faults, point, 5)
    running = shop.backfilling(first, first + 500)
    eventually(faults.fired(shop.faults, point).exists, f"somebody dies at {point}", 60)
    output, _ = running.communicate(timeout=120)
    told = json.loads(output) if output.startswith("{") else shop.backfill(first, first + 500)
    assert told["state"] == "DONE"
    assert shop.scores() == expected(first, first + 500, 2, before)
    shop.verified()


@pytest.mark.fault
def test_a_task_and_the_gateway_are_killed_half_way(shop: Shop) -> None:
    before, gateway = shop.scores(), shop.pid_of("gateway:")
    running = shop.backfilling(3_000, 5_000)
    kill(eventually(lambda: (shop.backfill_tasks() or [0])[0], "a task is at work", 60, every=0.01))
    eventually(lambda: _read(shop), "chunks are committed", 60, every=0.05)
    kill(gateway)
    running.communicate(timeout=60)
    eventually(lambda: shop.pid_of("gateway:") != gateway, "another gateway")
    eventually(lambda: "RUNNING" not in _states(shop), "the backfill is known to have stopped", 60, every=0.2)
    shop.verified()
    told = shop.backfill(3_000, 5_000)
    assert (told["state"], told["rejected"]) == ("DONE", 2)
    assert shop.scores() == expected(3_000, 5_000, 2, before)
    shop.verified()


@pytest.mark.fault
def test_a_kept_file_is_computed_anew_also_by_the_next_gateway(shop: Shop) -> None:
    before, gateway = shop.scores(), shop.pid_of("gateway:")
    assert {before[n] for n in IN_FILE} == {(n % 1000 * 1.0, 1) for n in IN_FILE}
    running = shop.backfilling(IN_FILE.start, IN_FILE.stop)
    read = "SELECT max(next_position) AS n FROM backfill_partitions JOIN backfills USING (backfill_id) WHERE state = 'RUNNING'"
    of_file = f"{read} AND upload_id IS NOT NULL"
    eventually(
        lambda: shop.sql(of_file)[0]["n"] or running.poll() is not None, "chunks of the file are committed", 60, every=0.02
    )
    kill(gateway)
    running.communicate(timeout=60)
    eventually(lambda: shop.pid_of("gateway:") != gateway, "another gateway")
    told = shop.backfill(IN_FILE.start, IN_FILE.stop)
    assert (told["state"], told["left"]) == ("DONE", [])
    assert shop.scores() == expected(IN_FILE.start, IN_FILE.stop, 2, before)
    online = shop.client.get_online_features(["score"], [f"by_file_{n}" for n in range(5)]).to_dict()
    assert online["score"] == [(995.0 + n) * 2 for n in range(5)]
    shop.verified()


def test_ctrl_c_and_cancel_stop_it_and_the_same_command_goes_on(shop: Shop) -> None:
    before = shop.scores()
    running = shop.backfilling(5_000, 5_500)
    eventually(lambda: "RUNNING" in _states(shop), "it runs", 60, every=0.05)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    eventually(lambda: "RUNNING" not in _states(shop), "it is stopped", 30, every=0.1)
    running = shop.backfilling(5_000, 5_500)
    found = eventually(lambda: _running(shop) or running.poll() is not None, "it runs or is done", 60, every=0.05)
    if isinstance(found, str):
        shop.raytide("backfill", "cancel", found)
    output, _ = running.communicate(timeout=60)
    assert json.loads(output)["state"] in {"STOPPED", "DONE"}
    shop.verified()
    shop.backfill(5_000, 5_500)
    assert shop.scores() == expected(5_000, 5_500, 2, before)
    shop.verified()


def test_the_newest_values_online_are_those_of_the_new_version(shop: Shop) -> None:
    """The last ten orders came under version 2; for the other users the newest is of version 1 until now."""
    shop.backfill(5_500, RECORDS + 10)
    online = shop.client.get_online_features(["score"], [f"user_{n}" for n in range(USERS)]).to_dict()
    last = {n % USERS: n for n in range(RECORDS + 10) if n % 1000 != CURSED}
    assert online["score"] == [last[user] % 1000 * 2.0 for user in range(USERS)]
    assert {version for n, (_, version) in shop.scores().items() if 5_500 <= n < RECORDS + 10} == {2}
    shop.verified()


def test_wrong_use_is_told_in_a_sentence(shop: Shop) -> None:
    for arguments, message in (
        (["scors", "--from", "2026-01-01", "--to", "2026-01-02"], "did you mean 'scores'"),
        (["scores", "--from", "2026-01-02", "--to", "2026-01-01"], "until_us"),
        (["scores", "--from", "yesterday", "--to", "2026-01-01"], "--from is not a time"),
        (["cancel", "nobody"], "no backfill is called 'nobody'"),
    ):
        done = shop.raytide("backfill", *arguments, check=False)
        assert done.returncode == 2, done.stderr
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def _states(shop: Shop) -> list[str]:
    return [str(row["state"]) for row in shop.sql("SELECT state FROM backfills")]


def _running(shop: Shop) -> str:
    found = shop.sql("SELECT backfill_id FROM backfills WHERE state = 'RUNNING'")
    return str(found[0]["backfill_id"]) if found else ""


def _read(shop: Shop) -> bool:
    """Answer whether the backfill that runs has committed several chunks."""
    read = """SELECT sum(next_position - first_position) AS n FROM backfill_partitions JOIN backfills USING (backfill_id)
        WHERE state = 'RUNNING'"""
    return int(shop.sql(read)[0]["n"] or 0) > 800
