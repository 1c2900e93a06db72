"""The whole path on real parts: Kafka in, Redis and DuckDB out, through processes that a stranger would see.

The tests share one app and run in any order, so each uses entities of its own and asks `verify` at the end.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import redis
from kafka import KafkaProducer
from pyarrow import parquet

from cluster.errors import NotFound, Refused
from raytide.client import RaytideClient
from tests.stack.conftest import RunningApp

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

FEATURES, ORDERS = "raytide.features", "raytide.orders"
NOW = pd.Timestamp.now(tz="UTC").floor("s")


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def long_record(entity: str, feature: str, value: Any, at: pd.Timestamp = NOW) -> bytes:
    stamp = at.isoformat()
    record = {"id": str(uuid.uuid4()), "entity_id": entity, "feature_name": feature, "value": value}
    return json.dumps({**record, "validated_at": stamp, "created_at": NOW.isoformat()}).encode()


@pytest.fixture
def client(app: RunningApp) -> Iterator[RaytideClient]:
    with RaytideClient(app.remembered()["gateway"]) as ready:  # another address after each start: its port is a free one
        yield ready


@pytest.fixture(scope="session")
def producer(app: RunningApp) -> Iterator[KafkaProducer]:
    """A producer that is not ours."""
    ready = KafkaProducer(bootstrap_servers=app.ask("stack", "status")["bootstrap_servers"], acks="all", linger_ms=5)
    yield ready
    ready.close()


def test_an_event_is_online_and_in_history(app: RunningApp, client: RaytideClient, producer: KafkaProducer) -> None:
    entity = f"user_{uuid.uuid4().hex}"
    for value, seconds in ((1.0, 20), (2.5, 10), (0.0, 30)):
        at = NOW - pd.Timedelta(seconds=seconds)
        sent = producer.send(FEATURES, key=entity.encode(), value=long_record(entity, "account_balance", value, at))
    last = sent.get(10)
    app.verify()
    online = client.get_online_features(["account:account_balance", "risk_score"], [entity, "nobody"])
    assert online.to_dict()["account_balance"] == [2.5, None]
    assert [str(s) for s in online.statuses[0]] == ["PRESENT", "NOT_FOUND"]
    stored = redis.Redis.from_url(app.ask("stack", "status")["redis_url"], decode_responses=True)
    assert stored.hget(f"entity:{entity}", "account_balance") == "2.5"
    asked = pd.DataFrame({"user_id": [entity] * 3, "event_timestamp": [NOW - pd.Timedelta(seconds=s) for s in (31, 30, 15)]})
    joined = client.get_historical_features(asked, ["account_balance"]).to_pandas()
    assert joined["account_balance"].tolist()[1:] == [0.0, 1.0]
    assert pd.isna(joined["account_balance"].iloc[0])
    where = client.sql(
        "SELECT s.topic, s.partition, f.position, s.registry_version FROM features f JOIN sources s USING (source_id) "
        f"WHERE entity_id = '{entity}' ORDER BY f.position DESC LIMIT 1"
    ).to_pylist()
    place = {"topic": FEATURES, "partition": last.partition, "position": last.offset}
    assert where == [{**place, "registry_version": app.version()}]


def test_a_graph_of_functions_runs_on_the_stream(app: RunningApp, client: RaytideClient, producer: KafkaProducer) -> None:
    entity = f"user_{uuid.uuid4().hex}"
    order = {"order_id": "o-1", "user_id": entity, "amount": 100, "currency": "USD", "timestamp": "2026-11-21T12:00:00Z"}
    producer.send(ORDERS, key=entity.encode(), value=json.dumps(order).encode()).get(10)
    app.verify()
    values = client.get_online_features(["order"], [entity]).to_dict()
    assert values["amount_eur"] == [92.0]
    assert values["amount_eur_log"] == [pytest.approx(4.5325994931532563, abs=1e-12)]
    assert values["is_weekend"] == [1.0]


BAD = {
    "empty_message": b"",
    "malformed_json": b"{",
    "not_an_object": b"[1]",
    "invalid_utf8": b'{"entity_id": "\xff"}',
    "tombstone": None,
    "unknown_feature": long_record("u", "no_such_feature", 1),
    "bad_entity_id": long_record("", "risk_score", 0.5),
    "wrong_type": long_record("u", "risk_score", "high"),
    "not_finite": long_record("u", "risk_score", 1).replace(b'"value": 1', b'"value": 1e999'),
    "bad_time": long_record("u", "risk_score", 0.5).replace(NOW.isoformat().encode(), b"yesterday"),
    "time_in_future": long_record("u", "risk_score", 0.5, NOW + pd.Timedelta(days=400)),
    "missing_field": b'{"entity_id": "u", "feature_name": "risk_score"}',
}


def test_bad_records_cost_no_neighbour(app: RunningApp, client: RaytideClient, producer: KafkaProducer) -> None:
    marker = uuid.uuid4().hex
    expected = {}
    for n, (reason, value) in enumerate(BAD.items()):
        for entity in (f"before-{n}-{marker}", f"after-{n}-{marker}"):
            if entity.startswith("after"):
                sent = producer.send(FEATURES, key=b"k", value=value, headers=[("test", marker.encode())], partition=0)
                at = sent.get(10)
                expected[at.offset] = (reason, value)
            producer.send(FEATURES, key=b"k", value=long_record(entity, "user_age", n), partition=0)
    producer.flush(10)
    app.verify()
    good = client.sql(f"SELECT count(*) AS n FROM features WHERE entity_id LIKE '%-{marker}'").to_pylist()
    assert good == [{"n": 2 * len(BAD)}]
    positions = ",".join(str(offset) for offset in expected)
    rows = client.sql(
        f"SELECT position, reason, payload, key, headers FROM quarantine q JOIN sources s USING (source_id) "
        f"WHERE s.topic = '{FEATURES}' AND s.partition = 0 AND position IN ({positions})"
    ).to_pylist()
    assert {row["position"]: (row["reason"], row["payload"]) for row in rows} == expected
    assert {row["key"] for row in rows} == {b"k"}
    assert all("test" in row["headers"] for row in rows)


def rows_of_a_file(marker: str, count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "entity_id": [f"file-{n}-{marker}" for n in range(count)],
            "feature_name": "account_balance",
            "value": [n / 4 for n in range(count)],
            "validated_at": [(NOW - pd.Timedelta(minutes=n)).isoformat() for n in range(count)],
        },
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_file_goes_the_same_way(app: RunningApp, client: RaytideClient, tmp_path: Path, suffix: str) -> None:
    marker, path = uuid.uuid4().hex, tmp_path / f"history.{suffix}"
    frame = rows_of_a_file(marker, 500)
    frame.loc[7, "feature_name"] = "no_such_feature"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        parquet.write_table(pa.Table.from_pandas(frame), path, row_group_size=100)
    else:
        frame.to_json(path, orient="records", lines=True)
    first = app.ask("ingest", str(path), "--source", "features")["files"][0]
    assert (first["state"], first["rows"], first["rejected"]) == ("DONE", 499, 1)
    again = app.ask("ingest", str(path), "--source", "features")["files"][0]
    assert again["upload_id"] == first["upload_id"]
    stored = client.sql(f"SELECT count(*) AS n, sum(value) AS total FROM features WHERE entity_id LIKE 'file-%-{marker}'")
    assert stored.to_pylist() == [{"n": 499, "total": frame["value"].sum() - frame["value"][7]}]
    rejected = client.sql(
        f"SELECT position, reason FROM quarantine q JOIN sources s USING (source_id) WHERE s.upload_id = '{first['upload_id']}'"
    )
    assert rejected.to_pylist() == [{"position": 7, "reason": "unknown_feature"}]
    online = client.get_online_features(["account_balance"], [f"file-3-{marker}", f"file-7-{marker}"]).to_dict()
    assert online["account_balance"] == [0.75, None]
    app.verify()


def test_a_bad_file_leaves_nothing_and_says_why(app: RunningApp, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("user,feature\nu,f\n")
    done = app.raytide("ingest", str(path), "--source", "features", check=False)
    assert done.returncode == 1
    assert "entity_id" in done.stderr
    assert "Traceback" not in done.stderr
    app.verify()


def test_stopping_and_starting_goes_on_where_it_stopped(app: RunningApp, producer: KafkaProducer) -> None:
    marker = uuid.uuid4().hex
    for n in range(2000):
        producer.send(FEATURES, key=b"%d" % n, value=long_record(f"restart-{marker}", "user_age", n))
    producer.flush(30)
    head = psutil.Process(app.remembered()["head"]["process"]["pid"])
    family = [head, *head.children(recursive=True)]
    app.down()
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    with duckdb.connect(str(app.folder / ".raytide" / "features.duckdb"), read_only=True) as file:
        assert file.sql("SELECT count(*) FROM partitions").fetchall() == [(4,)]
    app.up()
    app.verify()
    assert app.ask("sql", f"SELECT count(*) AS n FROM features WHERE entity_id = 'restart-{marker}'") == [{"n": 2000}]


def test_calls_that_are_wrong_say_so(app: RunningApp, client: RaytideClient) -> None:
    with pytest.raises(NotFound, match="account_balance"):
        client.get_online_features(["acount_balance"], ["u"])
    with pytest.raises(Refused, match="entit"):
        client.get_online_features(["account_balance"], [])
    with pytest.raises(Refused, match=r"10,?000"):
        client.get_online_features(["account_balance"], [f"u{n}" for n in range(100_000)])
    with pytest.raises(Refused):
        client.sql("SELECT * FROM read_csv('/etc/passwd')")
    unreachable = app.raytide("status", "--address", "127.0.0.1:1", check=False)
    assert unreachable.returncode == 3
    wrong = app.raytide("sql", "DELETE FROM features", check=False)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr + unreachable.stderr


def test_status_tells_what_runs(app: RunningApp) -> None:
    report = app.ask("status")
    names = {(p["topic"], p["partition"]) for p in report["partitions"]}
    assert names == {(FEATURES, 0), (FEATURES, 1), (ORDERS, 0), (ORDERS, 1)}
    eventually(lambda: {p["state"] for p in app.ask("status")["partitions"]} == {"RUNNING"})
    assert report["limiter"]["most_at_once"] <= report["limiter"]["slots"] == 16
    assert "RUNNING" in app.raytide("status").stdout
