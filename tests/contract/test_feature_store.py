"""The clients in Feast's words, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import raytide
from cluster.errors import BadFile, Misconfigured, NotFound, RaytideError, Refused, Unreachable
from cluster.registry.definitions import FeatureService
from cluster.stores.ports import Upload, UploadState
from raytide.places import Place
from tests.online_world import HOUR, NOW, OnlineBackend, put, serving

ROWS = [("1", "user_age", 31.5, NOW - 1_500_000), ("2", "user_age", None, NOW), ("2", "risk_score", 0.5, NOW - 2 * HOUR)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    backend = OnlineBackend()
    put(backend.online, ROWS)
    with serving(backend) as address:
        yield address


@pytest.fixture
def store(address: str) -> Iterator[raytide.FeatureStore]:
    with raytide.FeatureStore(address, timeout_s=20) as store:
        yield store


def test_rows_in_and_feasts_dictionary_out(store: raytide.FeatureStore) -> None:
    response = store.get_online_features(["user_age", "risk:risk_score"], [{"user_id": 1}, {"user_id": "2"}])
    assert response.to_dict() == {"user_id": [1, "2"], "user_age": [31.5, None], "risk_score": [None, None]}
    assert response.statuses == {"user_age": ["PRESENT", "NULL_VALUE"], "risk_score": ["NOT_FOUND", "OUTSIDE_MAX_AGE"]}
    assert response.columns.ages[1][1] >= 2 * HOUR


def test_times_are_whole_seconds_as_feasts_are(store: raytide.FeatureStore) -> None:
    found = store.get_online_features(["user_age"], {"user_id": [1, 3]}).to_dict(include_event_timestamps=True)
    assert found["user_age__ts"] == [(NOW - 1_500_000) // 1_000_000, 0]


def test_a_frame_and_a_table(store: raytide.FeatureStore) -> None:
    response = store.get_online_features(FeatureService("scoring", []), {"user_id": ["3", "1"]})
    frame, table = response.to_df(), response.to_arrow()
    assert list(frame.columns) == table.column_names == ["user_id", "user_age", "account_balance", "risk_score"]
    assert frame["user_age"].dtype == np.float64
    assert frame["user_age"].fillna(-1).tolist() == [-1, 31.5]
    assert frame["risk_score"].dtype == np.float64
    assert table["user_age"].to_pylist() == [None, 31.5]
    assert table.schema.field("risk_score").type == pa.float64()


def test_full_names(store: raytide.FeatureStore) -> None:
    response = store.get_online_features(["profile:user_age"], [{"user_id": 1}], full_feature_names=True)
    assert response.to_dict() == {"user_id": [1], "profile__user_age": [31.5]}


@pytest.mark.parametrize(
    ("features", "rows", "full", "error", "said"),
    [
        (["user_age"], [], False, Refused, "one join key.*none"),
        (["user_age"], {}, False, Refused, "one join key.*none"),
        (["user_age"], {"user_id": []}, False, Refused, "empty"),
        (["user_age"], {"user_id": [1], "hour": [2]}, False, Refused, "one join key.*user_id, hour"),
        (["user_age"], [{"user_id": 1, "hour": 2}], False, Refused, "join key once"),
        (["user_age"], [{"user_id": 1}, {"driver": 2}], False, Refused, "one join key.*user_id, driver"),
        (["user_age"], [{"user_id": 1.5}], False, Refused, "not float"),
        (["user_age"], [{"user_id": True}], False, Refused, "not bool"),
        (["user_age"], [{"user_id": 1}], True, Refused, "view:feature"),
        ("scoring", [{"user_id": 1}], True, Refused, "view:feature"),
        (["user_agee"], [{"user_id": 1}], False, NotFound, "'user_age'"),
    ],
)
def test_wrong_questions_name_the_argument(
    store: raytide.FeatureStore, *, features: Any, rows: Any, full: bool, error: type[RaytideError], said: str
) -> None:
    with pytest.raises(error, match=said):
        store.get_online_features(features, rows, full)


def test_without_waiting_many_at_once(address: str) -> None:
    async def read() -> list[dict[str, list[Any]]]:
        async with raytide.AsyncFeatureStore(address, timeout_s=20) as store:
            answers = [store.get_online_features(["user_age"], {"user_id": [i]}) for i in range(50)]
            return [answer.to_dict() for answer in await asyncio.gather(*answers)]

    found = asyncio.run(read())
    assert found[1] == {"user_id": [1], "user_age": [31.5]}
    assert [answer["user_id"] for answer in found] == [[i] for i in range(50)]


def test_without_waiting_errors_are_ours(address: str) -> None:
    async def read(where: str, feature: str) -> None:
        async with raytide.AsyncFeatureStore(where, timeout_s=5) as store:
            await store.get_online_features([feature], [{"user_id": 1}])

    with pytest.raises(NotFound, match="'user_age'"):
        asyncio.run(read(address, "user_agee"))
    with pytest.raises(Unreachable, match="no gateway answers"):
        asyncio.run(read(_nobody(), "user_age"))


def _nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_all_tries_together_keep_the_deadline() -> None:
    with raytide.FeatureStore(_nobody(), timeout_s=0.01) as store, pytest.raises(RaytideError):
        store.get_online_features(["user_age"], [{"user_id": 1}])


def test_a_join_is_asked_for_once_and_when_wanted(store: raytide.FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def join(*question: Any, **options: Any) -> pa.Table:
        asked.append((question[1], options))
        return pa.table({"user_id": ["1"], "user_age": [31.5]})

    monkeypatch.setattr(store.client, "get_historical_features", join)
    job = store.get_historical_features(pd.DataFrame({"user_id": ["1"]}), FeatureService("scoring", []), known_at="2026-01-01")
    assert asked == []
    assert job.to_df()["user_age"].tolist() == [31.5]
    assert job.to_arrow().num_rows == 1
    plain = {"known_at_column": "", "full_feature_names": False, "registry_version": 0}
    assert asked == [("scoring", plain | {"known_at": "2026-01-01"})]
    store.get_historical_features(pa.table({}), ["user_age"], True, known_at_column="seen", registry_version=3).to_arrow()
    wanted = {"known_at": None, "known_at_column": "seen", "full_feature_names": True, "registry_version": 3}
    assert asked[1] == (["user_age"], wanted)


@pytest.mark.parametrize("state", [UploadState.DONE, UploadState.FAILED])
def test_pushed_rows_are_a_file_for_the_source(
    store: raytide.FeatureStore, monkeypatch: pytest.MonkeyPatch, state: UploadState
) -> None:
    sent: list[Any] = []

    def upload(path: Path, *, source: str) -> Upload:
        sent.append((path.name, source, pd.read_parquet(path).to_dict("list")))
        return Upload("u1", "k", path.name, source, "parquet", "", 1, state, error="column amount is missing")

    monkeypatch.setattr(store.client, "upload_file", upload)
    frame = pd.DataFrame({"user_id": ["1"], "amount": [2.5]})
    if state is UploadState.DONE:
        assert store.push("orders", frame).state is UploadState.DONE
    else:
        with pytest.raises(BadFile, match="'orders' are FAILED: column amount is missing"):
            store.push("orders", frame)
    assert sent == [("push.parquet", "orders", {"user_id": ["1"], "amount": [2.5]})]


# Where it is


def project(folder: Path, text: str = "project: shop\ngateway: {host: '::1', port: 5}\n") -> Path:
    (folder / "feature_store.yaml").write_text(text, encoding="utf-8")
    return folder / "feature_store.yaml"


@pytest.mark.parametrize("where", ["127.0.0.1:50051", "gateway.example:1", "[::1]:50051"])
def test_an_address_is_taken_as_it_is(where: str) -> None:
    assert Place.of(where).address == where


def test_a_project_says_where_its_gateway_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Place.of(tmp_path).address == Place.of(str(file)).address == "[::1]:5"
    state = tmp_path / ".raytide"
    state.mkdir()
    (state / "app.json").write_text('{"project": "another", "gateway": "127.0.0.1:6"}', encoding="utf-8")
    assert Place.of(tmp_path).address == "[::1]:5"
    (state / "app.json").write_text('{"project": "shop", "gateway": "127.0.0.1:7"}', encoding="utf-8")
    assert Place.of(tmp_path).address == "127.0.0.1:7"


def test_neither_an_address_nor_a_project(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"feature_store\.yaml"):
        raytide.FeatureStore(tmp_path / "nothing")


def test_a_project_is_needed_for_its_definitions(store: raytide.FeatureStore) -> None:
    with pytest.raises(Misconfigured, match=r"plan reads definitions.*feature_store\.yaml"):
        store.plan()
    with pytest.raises(Misconfigured, match=r"apply reads definitions.*feature_store\.yaml"):
        store.apply()


WITHOUT_RAY = """
import sys
sys.modules["ray"] = None  # importing it raises ModuleNotFoundError, as where it is not installed
import asyncio
from raytide import AsyncFeatureStore, FeatureStore
from cluster.errors import Misconfigured
with FeatureStore(sys.argv[1]) as store:
    print(store.get_online_features("scoring", [{"user_id": 1}]).to_df()["user_age"].tolist())
async def read():
    async with AsyncFeatureStore(sys.argv[1]) as store:
        return await store.get_online_features("scoring", [{"user_id": 1}])
print(asyncio.run(read()).to_dict()["user_age"])
try:
    FeatureStore(sys.argv[2]).apply()
except Misconfigured as error:
    print(error)
"""


def test_it_works_where_ray_is_not_installed(address: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, address, str(project(tmp_path))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values, also, error = done.stdout.splitlines()
    assert values == also == "[31.5]"
    assert error.startswith("apply needs ray, which is not installed here")
    assert "raytide apply" in error


def test_definitions_need_no_grpc() -> None:
    code = "import sys, raytide; sys.exit(any(name in sys.modules for name in ('grpc', 'raytide.client')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'FeatureStor'"):
        raytide.FeatureStor  # noqa: B018
