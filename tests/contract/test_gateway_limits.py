"""Clients that ask for too much, send nothing, or read nothing: each gets its error, and others are served meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest
from featurestore.v1 import admin_pb2, admin_pb2_grpc
from grpc_health.v1 import health_pb2

from cluster.config import ClientConfig, GatewayConfig
from cluster.errors import Busy, OverLimit
from raytide.channels import open_channel
from raytide.client import RaytideClient
from tests.guarded_gateway import Behind, age_of, serving

OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@pytest.fixture
def behind() -> Behind:
    return Behind()


def patiently_age_of(client: RaytideClient) -> list[str]:
    """Read until the gateway has room again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return age_of(client)
        except Busy:
            if time.monotonic() > deadline:
                raise


def test_a_client_that_opens_2000_calls_leaves_room_for_others(behind: Behind) -> None:
    behind.gate.clear()
    with (
        serving(GatewayConfig(port=0, max_concurrent_calls=16, max_calls_per_client=8), behind) as address,
        grpc.insecure_channel(address, options=OWN_CONNECTION) as greedy,
        RaytideClient(address) as other,
    ):
        stub = admin_pb2_grpc.AdminServiceStub(greedy)
        ended = threading.Semaphore(0)
        calls = [stub.GetStatus.future(admin_pb2.GetStatusRequest(), timeout=60) for _ in range(2_000)]
        for call in calls:
            call.add_done_callback(lambda _: ended.release())
        assert [age_of(other) for _ in range(20)] == [["NOT_FOUND"]] * 20
        for _ in range(1_992):
            assert ended.acquire(timeout=30)
        running = [call for call in calls if not call.done()]
        assert Counter(call.code().name for call in calls if call.done()) == {"RESOURCE_EXHAUSTED": 1_992}
        behind.gate.set()
        assert [call.result(timeout=20).project for call in running] == ["shop"] * 8


def test_the_refusal_names_the_limit(behind: Behind) -> None:
    behind.gate.clear()
    config = GatewayConfig(port=0, max_concurrent_calls=3, max_calls_per_client=2)
    with (
        serving(config, behind) as address,
        grpc.insecure_channel(address, options=OWN_CONNECTION) as one,
        grpc.insecure_channel(address, options=OWN_CONNECTION) as two,
        RaytideClient(address) as other,
    ):
        stubs = [admin_pb2_grpc.AdminServiceStub(channel) for channel in (one, one, two)]
        held = [stub.GetStatus.future(admin_pb2.GetStatusRequest()) for stub in stubs]
        for _ in held:
            assert behind.entered.acquire(timeout=20)
        with pytest.raises(grpc.RpcError) as caught:
            stubs[0].GetStatus(admin_pb2.GetStatusRequest(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "gateway.max_calls_per_client" in str(caught.value.details())
        with pytest.raises(Busy, match=r"gateway\.max_concurrent_calls"):
            other.status()
        behind.gate.set()
        for call in held:
            call.result(timeout=20)
        assert patiently_age_of(other) == ["NOT_FOUND"]


def test_a_message_of_50_mb_is_refused_with_what_to_do(behind: Behind) -> None:
    with serving(GatewayConfig(port=0), behind) as address, RaytideClient(address) as client:
        with pytest.raises(OverLimit, match="send less in one call"):
            client.get_online_features(["profile"], ["x" * 50_000_000])
        assert age_of(client) == ["NOT_FOUND"]


@pytest.mark.parametrize(
    "method",
    [
        "featurestore.v1.FeatureService/GetOnlineFeatures",
        "featurestore.v1.AdminService/RunSql",
        "featurestore.v1.IngestService/UploadFile",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_a_call_that_never_sends_its_message_is_ended(behind: Behind, method: str) -> None:
    config = GatewayConfig(port=0, default_timeout_s=1, max_concurrent_calls=2, max_calls_per_client=1)
    leave = threading.Event()

    def silent() -> Iterator[Any]:
        leave.wait(60)
        yield from ()

    with (
        serving(config, behind) as address,
        grpc.insecure_channel(address, options=OWN_CONNECTION) as channel,
        RaytideClient(address) as other,
    ):
        call: Any = channel.stream_stream(f"/{method}")
        waiting = call(silent(), timeout=30)
        assert age_of(other) == ["NOT_FOUND"]
        with pytest.raises(grpc.RpcError) as caught:
            next(waiting)
        assert caught.value.code() is grpc.StatusCode.CANCELLED
        leave.set()


def test_those_who_watch_health_count_as_calls_and_do_not_hold_up_the_end(behind: Behind) -> None:
    config = GatewayConfig(port=0, max_concurrent_calls=2, max_calls_per_client=1)
    request = health_pb2.HealthCheckRequest().SerializeToString()
    for _ in range(20):  # some ends used to meet a watch that ended
        with serving(config, behind) as address, grpc.insecure_channel(address) as channel, RaytideClient(address) as other:
            watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
            first = watch(request, timeout=60)
            next(first)
            with pytest.raises(grpc.RpcError) as caught:
                next(watch(request, timeout=60))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert patiently_age_of(other) == ["NOT_FOUND"]


def test_a_stream_that_nobody_reads_is_ended_and_its_thread_is_free(behind: Behind) -> None:
    behind.table = pa.table({"text": ["x" * 1_000] * 50_000})
    config = GatewayConfig(port=0, default_timeout_s=1, max_concurrent_calls=2, max_calls_per_client=1)
    with (
        serving(config, behind) as address,
        open_channel(address, ClientConfig()) as channel,
        RaytideClient(address) as same,
        grpc.insecure_channel(address, options=OWN_CONNECTION) as elsewhere,
    ):
        unread = admin_pb2_grpc.AdminServiceStub(channel).RunSql(admin_pb2.RunSqlRequest(statement="SELECT 1"), timeout=60)
        next(unread)
        with pytest.raises(Busy):
            same.status()
        admin_pb2_grpc.AdminServiceStub(elsewhere).GetStatus(admin_pb2.GetStatusRequest(), timeout=20)
        assert patiently_age_of(same) == ["NOT_FOUND"]
        with pytest.raises(grpc.RpcError) as caught:
            list(unread)
        assert caught.value.code() is grpc.StatusCode.CANCELLED
