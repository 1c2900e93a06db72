"""Feast's protocol at our gateway: by our own stubs, and by those that Feast publishes."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from featurestore.feast import serving_pb2, serving_pb2_grpc, value_pb2

from tests.online_world import HOUR, NOW, OnlineBackend, put, serving

ROWS = [
    ("1", "user_age", 31.5, NOW - 1_000_001),
    ("1", "account_balance", None, NOW),
    ("1", "risk_score", 0.25, NOW - 2 * HOUR),
    ("user_2", "risk_score", -0.5, NOW),
]
PRESENT, NULL, NOT_FOUND, EXPIRED = 1, 2, 3, 4


@pytest.fixture
def address() -> Iterator[str]:
    backend = OnlineBackend()
    put(backend.online, ROWS)
    with serving(backend) as address:
        yield address


@pytest.fixture
def stub(address: str) -> Iterator[serving_pb2_grpc.ServingServiceStub]:
    with grpc.insecure_channel(address) as channel:
        yield serving_pb2_grpc.ServingServiceStub(channel)


def users(*ids: str | int | None) -> dict[str, value_pb2.RepeatedValue]:
    return {"user_id": value_pb2.RepeatedValue(val=[as_value(i) for i in ids])}


def as_value(entity: str | int | None) -> value_pb2.Value:
    if isinstance(entity, bool):
        return value_pb2.Value(bool_val=entity)
    if isinstance(entity, int):
        return value_pb2.Value(int64_val=entity)
    return value_pb2.Value() if entity is None else value_pb2.Value(string_val=entity)


def features(*names: str) -> serving_pb2.FeatureList:
    return serving_pb2.FeatureList(val=names)


def test_who_answers(stub: serving_pb2_grpc.ServingServiceStub) -> None:
    answer = stub.GetFeastServingInfo(serving_pb2.GetFeastServingInfoRequest(), timeout=20)
    assert answer.version == "0.67.0+raytide"


def test_values_with_true_statuses_and_times(stub: serving_pb2_grpc.ServingServiceStub) -> None:
    names = features("profile:user_age", "profile:account_balance", "risk:risk_score")
    request = serving_pb2.GetOnlineFeaturesRequest(features=names, entities=users(1, "user_2", "nobody"))
    answer = stub.GetOnlineFeatures(request, timeout=20)
    assert list(answer.metadata.feature_names.val) == ["user_id", "user_age", "account_balance", "risk_score"]
    key, age, balance, risk = answer.results
    assert list(key.values) == list(users(1, "user_2", "nobody")["user_id"].val)
    assert [list(vector.statuses) for vector in answer.results] == [
        [PRESENT] * 3,
        [PRESENT, NOT_FOUND, NOT_FOUND],
        [NULL, NOT_FOUND, NOT_FOUND],
        [EXPIRED, PRESENT, NOT_FOUND],
    ]
    assert age.values[0].double_val == 31.5
    assert age.event_timestamps[0].ToMicroseconds() == NOW - 1_000_001
    assert risk.values[1].double_val == -0.5
    assert [value.WhichOneof("val") for vector in (age, balance, risk) for value in vector.values] == [
        "double_val",
        *[None] * 6,
        "double_val",
        None,
    ]
    assert {len(vector.event_timestamps) for vector in answer.results} == {3}


def test_a_service_with_full_names_and_the_views_versions(stub: serving_pb2_grpc.ServingServiceStub) -> None:
    request = serving_pb2.GetOnlineFeaturesRequest(
        feature_service="scoring", entities=users(1), full_feature_names=True, include_feature_view_version_metadata=True
    )
    metadata = stub.GetOnlineFeatures(request, timeout=20).metadata
    assert list(metadata.feature_names.val)[1:] == ["profile__user_age", "profile__account_balance", "risk__risk_score"]
    assert [(view.name, view.version) for view in metadata.feature_view_metadata] == [("profile", 7), ("risk", 7)]


def test_feasts_other_name_for_the_same_method(address: str) -> None:
    request = serving_pb2.GetOnlineFeaturesRequest(feature_service="scoring", entities=users(1))
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/GrpcFeatureServer/GetOnlineFeatures",
            request_serializer=serving_pb2.GetOnlineFeaturesRequest.SerializeToString,
            response_deserializer=serving_pb2.GetOnlineFeaturesResponse.FromString,
        )
        assert call(request, timeout=20).results[1].values[0].double_val == 31.5


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ({"entities": users(1)}, "INVALID_ARGUMENT", "name either features or a feature service"),
        ({"features": features("profile:user_agee"), "entities": users(1)}, "NOT_FOUND", "'user_age'"),
        ({"features": features("user_age")}, "INVALID_ARGUMENT", "join key 'user_id', and there is nothing"),
        ({"features": features("user_age"), "entities": users()}, "INVALID_ARGUMENT", "empty"),
        ({"features": features("user_age"), "entities": users(1, True)}, "INVALID_ARGUMENT", "user_id[1]: bool_val"),
        ({"features": features("user_age"), "entities": users(None)}, "INVALID_ARGUMENT", "user_id[0]: no value"),
        ({"features": features("click_count"), "entities": users(1)}, "INVALID_ARGUMENT", "not kept online"),
    ],
    ids=["no features", "near", "no join key", "no entities", "a boolean", "no value", "offline"],
)
def test_wrong_requests(stub: serving_pb2_grpc.ServingServiceStub, request_: dict[str, object], code: str, said: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetOnlineFeatures(serving_pb2.GetOnlineFeaturesRequest(**request_), timeout=20)  # type: ignore[arg-type]
    assert caught.value.code().name == code
    assert said in str(caught.value.details())


# Feast's own code, in an environment of its own

READ = """
import sys, math
import grpc
from feast.online_response import OnlineResponse
from feast.protos.feast.serving import GrpcServer_pb2_grpc as python_rpc
from feast.protos.feast.serving import ServingService_pb2 as pb, ServingService_pb2_grpc as rpc
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

ids = RepeatedValue(val=[Value(int64_val=1), Value(string_val="user_2"), Value(string_val="nobody")])
names = pb.FeatureList(val=["profile:user_age", "profile:account_balance", "risk:risk_score"])
request = pb.GetOnlineFeaturesRequest(features=names, entities={"user_id": ids})
with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = rpc.ServingServiceStub(channel)
    print(stub.GetFeastServingInfo(pb.GetFeastServingInfoRequest(), timeout=20).version)
    for server in (stub, python_rpc.GrpcFeatureServerStub(channel)):
        answer = server.GetOnlineFeatures(request, timeout=20)
        print(OnlineResponse(answer).to_dict())
        print([[pb.FieldStatus.Name(s) for s in vector.statuses] for vector in answer.results])
        print([vector.event_timestamps[0].ToMicroseconds() for vector in answer.results])
"""


@pytest.fixture(scope="module")
def feast_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feast")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "feast==0.67.0", "grpcio"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Feast cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.long
@pytest.mark.timeout(900)
def test_feasts_published_client_reads_raytide(feast_python: Path, address: str, tmp_path: Path) -> None:
    script = tmp_path / "read.py"
    script.write_text(READ, encoding="utf-8")
    done = subprocess.run(
        [str(feast_python), str(script), address], capture_output=True, text=True, check=False, env={"FEAST_USAGE": "False"}
    )
    assert done.returncode == 0, done.stderr
    values = {
        "user_id": [1, "user_2", "nobody"],
        "user_age": [31.5, None, None],
        "account_balance": [None, None, None],
        "risk_score": [None, -0.5, None],
    }
    statuses = [
        ["PRESENT"] * 3,
        ["PRESENT", "NOT_FOUND", "NOT_FOUND"],
        ["NULL_VALUE", "NOT_FOUND", "NOT_FOUND"],
        ["OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"],
    ]
    times = [0, NOW - 1_000_001, NOW, NOW - 2 * HOUR]
    assert done.stdout.splitlines() == ["0.67.0+raytide", *[str(values), str(statuses), str(times)] * 2]
