"""A gateway that only reads features: what it answers, and what it says to those who want more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import grpc
import pytest
from featurestore.feast import serving_pb2, serving_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cluster.config import GatewayConfig
from cluster.errors import Refused
from cluster.gateway.backend import ReadingBackend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import OTHERS, READING, reading_services
from raytide.client import RaytideClient
from tests.online_world import NOW, OnlineBackend, put

WHOLE = "192.0.2.1:50051"


@pytest.fixture
def address() -> Iterator[str]:
    backend = OnlineBackend()
    put(backend.online, [("1", "user_age", 31.5, NOW)])
    server = GatewayServer(GatewayConfig(port=0), reading_services(cast("ReadingBackend", backend), WHOLE))
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop(1)


def test_it_answers_our_clients_and_feasts(address: str) -> None:
    with RaytideClient(address) as client:
        assert client.get_online_features(["user_age"], ["1"]).to_dict()["user_age"] == [31.5]
    with grpc.insecure_channel(address) as channel:
        stub = serving_pb2_grpc.ServingServiceStub(channel)
        assert stub.GetFeastServingInfo(serving_pb2.GetFeastServingInfoRequest(), timeout=20).version


def test_everything_else_is_refused_with_the_address_of_the_whole_one(address: str) -> None:
    says = f"only reads features: call the one of `raytide up`, on {WHOLE}"
    with RaytideClient(address) as client:
        for call in (client.status, lambda: client.sql("SELECT 1"), lambda: list(client.rebuild_online())):
            with pytest.raises(Refused, match=says):
                call()


def test_a_method_that_nobody_has_does_not_exist(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        for method in ("/nobody.Service/Method", "/odd", "/a/b/c"):
            call: Any = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, method


def test_health_and_reflection_name_what_is_there(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", *READING):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert listed >= set(READING)
    assert not listed & set(OTHERS)
