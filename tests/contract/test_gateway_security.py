"""Who can connect to the gateway and call what, over real sockets, certificates and tokens."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from featurestore.v1 import admin_pb2, admin_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pydantic import SecretStr

from cluster.config import ClientConfig, GatewayConfig
from cluster.errors import Forbidden, Misconfigured, Unauthenticated, Unreachable
from raytide import AsyncFeatureStore, FeatureStore
from raytide.client import RaytideClient
from tests.certificates import Authority, Pair
from tests.guarded_gateway import ADMIN, READER, WRITER, age_of, one_of_each, serving, tokens_file

ALL = "0.0.0.0"  # noqa: S104 - the tests are about it


def with_token(token: str, **more: Any) -> ClientConfig:
    return ClientConfig(token=SecretStr(token), **more)


def tls(pair: Pair, **more: Any) -> GatewayConfig:
    return GatewayConfig(port=0, tls_cert=str(pair.cert), tls_key=str(pair.key), **more)


def replace(target: Path, source: Path) -> None:
    """Rotate a file the way one should: by a rename."""
    fresh = target.with_name("fresh")
    fresh.touch(mode=0o600)
    fresh.write_bytes(source.read_bytes())
    os.replace(fresh, target)  # noqa: PTH105 - the name says what is tested


# ---- tokens


def test_roles_decide_what_a_token_may_call(tmp_path: Path) -> None:
    reads: Callable[[RaytideClient], Any] = age_of
    looks: Callable[[RaytideClient], Any] = lambda client: client.sql("SELECT 1")  # noqa: E731
    with serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address:
        for token, call in ((READER, reads), (WRITER, reads), (ADMIN, reads), (ADMIN, looks)):
            with RaytideClient(address, access=with_token(token)) as client:
                call(client)
        with RaytideClient(address, access=with_token(READER)) as client:
            with pytest.raises(Forbidden, match=r"scoring is a reader, and AdminService\.RunSql is for the role admin"):
                client.sql("SELECT 1")
            with pytest.raises(Forbidden, match=r"IngestService\.CancelUpload is for the role writer"):
                client.cancel_upload("u1")


@pytest.mark.parametrize(
    ("access", "said"),
    [(ClientConfig(), "RAYTIDE_CLIENT__TOKEN"), (with_token("x" * 40), "does not know the token")],
    ids=["none", "wrong"],
)
def test_without_a_token_that_is_known_nothing_is_answered(tmp_path: Path, access: ClientConfig, said: str) -> None:
    with (
        serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address,
        RaytideClient(address, access=access) as client,
        pytest.raises(Unauthenticated, match=said) as caught,
    ):
        client.status()
    assert "x" * 40 not in str(caught.value)


def test_the_codes_are_those_that_grpc_has_for_it(tmp_path: Path) -> None:
    with serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address, grpc.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        codes = []
        for metadata in ((), (("authorization", f"Basic {ADMIN}"),), (("authorization", f"bearer {READER}"),)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Verify(admin_pb2.VerifyRequest(), metadata=metadata, timeout=20)
            codes.append(caught.value.code().name)
        assert codes == ["UNAUTHENTICATED", "UNAUTHENTICATED", "PERMISSION_DENIED"]


def test_health_needs_no_token_and_reflection_does(tmp_path: Path) -> None:
    with serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address, grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            list(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_changed_tokens_file_counts_from_the_next_call(tmp_path: Path) -> None:
    config = GatewayConfig(port=0, tokens=one_of_each(tmp_path))
    with serving(config) as address, RaytideClient(address, access=with_token(READER)) as client:
        age_of(client)
        tokens_file(tmp_path, f"scoring reader sha256:{hashlib.sha256(b'n' * 40).hexdigest()}")
        with pytest.raises(Unauthenticated):
            age_of(client)
        with RaytideClient(address, access=with_token("n" * 40)) as renewed:
            age_of(renewed)


def test_a_tokens_file_that_becomes_wrong_changes_nothing_and_is_logged_once(tmp_path: Path) -> None:
    config = GatewayConfig(port=0, tokens=one_of_each(tmp_path))
    with (
        serving(config) as address,
        RaytideClient(address, access=with_token(READER)) as client,
        structlog.testing.capture_logs() as logs,
    ):
        Path(str(config.tokens)).chmod(0o644)
        assert [age_of(client) for _ in range(3)] == [["NOT_FOUND"]] * 3
    assert [entry["event"] for entry in logs] == ["files_refused"]
    assert "open to others" in logs[0]["error"]


def test_what_an_administrator_calls_is_logged_with_the_name_of_the_token(tmp_path: Path) -> None:
    with (
        serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address,
        RaytideClient(address, access=with_token(ADMIN)) as client,
        structlog.testing.capture_logs() as logs,
    ):
        client.sql("SELECT 1")
    assert [(entry["event"], entry["method"], entry["caller"]) for entry in logs] == [
        ("admin_call", "AdminService.RunSql", "operator")
    ]


def test_a_clients_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.touch(mode=0o600)
    mine.write_text(READER + "\n")
    with (
        serving(GatewayConfig(port=0, tokens=one_of_each(tmp_path))) as address,
        RaytideClient(address, access=ClientConfig(token_file=str(mine))) as client,
    ):
        with pytest.raises(Forbidden):
            client.sql("SELECT 1")
        mine.write_text(ADMIN + "\n")
        assert client.sql("SELECT 1").num_rows == 1


def test_a_token_does_not_travel_in_clear_to_another_machine() -> None:
    with pytest.raises(Misconfigured, match=r"client\.ca") as caught:
        RaytideClient("192.0.2.1:1", access=with_token(READER))
    assert READER not in str(caught.value)
    RaytideClient("192.0.2.1:1", access=with_token(READER, plaintext_token=True)).close()


# ---- TLS


def test_tls_with_a_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(tls(authority.sign("gateway"), tokens=one_of_each(tmp_path))) as address:
        with RaytideClient(address, access=with_token(READER, ca=str(authority.ca))) as client:
            assert age_of(client) == ["NOT_FOUND"]
        with RaytideClient(address, access=ClientConfig(ca=str(authority.ca))) as client, pytest.raises(Unauthenticated):
            age_of(client)


def test_stores_in_feasts_words_take_certificates_and_tokens_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    config = tls(authority.sign("gateway")).model_copy(update={"tokens": one_of_each(tmp_path)})

    async def later(address: str) -> dict[str, list[Any]]:
        async with AsyncFeatureStore(address) as store:
            return (await store.get_online_features(["profile:age"], [{"user_id": "1"}])).to_dict()

    with serving(config) as address:
        with pytest.raises(Unreachable):
            asyncio.run(later(address))
        monkeypatch.setenv("RAYTIDE_CLIENT__CA", str(authority.ca))
        with pytest.raises(Unauthenticated):
            asyncio.run(later(address))
        monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN", READER)
        answer = {"user_id": ["1"], "age": [None]}
        assert asyncio.run(later(address)) == answer
        with FeatureStore(address) as store:
            assert store.get_online_features(["profile:age"], [{"user_id": "1"}]).to_dict() == answer


@pytest.mark.parametrize("kind", ["plain", "stranger", "expired", "other name"])
def test_a_client_says_what_is_wrong_with_tls(tmp_path: Path, kind: str) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    pair = authority.sign("gateway", timedelta(hours=-1) if kind == "expired" else timedelta(hours=1))
    access = {
        "plain": ClientConfig(),
        "stranger": ClientConfig(ca=str(stranger.ca)),
        "expired": ClientConfig(ca=str(authority.ca)),
        "other name": ClientConfig(ca=str(authority.ca), server_name="elsewhere"),
    }[kind]
    with (
        serving(tls(pair)) as address,
        RaytideClient(address, timeout_s=20, access=access) as client,
        pytest.raises(Unreachable, match=r"client\.ca"),
    ):
        client.status()


def test_mutual_tls_lets_those_with_a_certificate_in(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    config = tls(authority.sign("gateway"), tls_client_ca=str(authority.ca))
    ca = str(authority.ca)
    good, old, other = authority.sign("model"), authority.sign("old", timedelta(hours=-1)), stranger.sign("other")
    with serving(config) as address:
        with RaytideClient(address, access=ClientConfig(ca=ca, cert=str(good.cert), key=str(good.key))) as client:
            assert age_of(client) == ["NOT_FOUND"]
        refused = [ClientConfig(ca=ca), *(ClientConfig(ca=ca, cert=str(p.cert), key=str(p.key)) for p in (old, other))]
        for access in refused:
            with (
                RaytideClient(address, timeout_s=20, access=access) as client,
                pytest.raises(Unreachable, match=r"client\.cert"),
            ):
                age_of(client)


def test_a_renewed_certificate_is_used_for_new_connections(tmp_path: Path) -> None:
    authority, later = Authority(tmp_path), Authority(tmp_path, "later")
    pair, renewed = authority.sign("gateway"), later.sign("renewed")
    with serving(tls(pair)) as address:
        with RaytideClient(address, access=ClientConfig(ca=str(authority.ca))) as client:
            age_of(client)
        replace(pair.key, renewed.key)
        # Between the two renames key and certificate do not fit together: the former pair goes on serving.
        with RaytideClient(address, access=ClientConfig(ca=str(authority.ca))) as client:
            age_of(client)
        replace(pair.cert, renewed.cert)
        with RaytideClient(address, access=ClientConfig(ca=str(later.ca))) as client:
            age_of(client)


def test_somebody_who_never_shakes_hands_is_cut_off(tmp_path: Path) -> None:
    with (
        serving(tls(Authority(tmp_path).sign("gateway"), handshake_timeout_s=1)) as address,
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=20) as silent,
    ):
        while silent.recv(1000):  # what it says before it hangs up
            pass


# ---- where it may listen


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "without TLS"),
        ({"allow_plaintext": True}, "without TLS"),
        ({"plaintext_host": ALL}, "without TLS"),
        ({"allow_plaintext": True, "plaintext_host": "10.0.0.1"}, "without TLS"),
        ({"allow_plaintext": True, "plaintext_host": ALL}, "anybody there could call"),
        ({"tls_cert": "c", "tls_key": "k"}, "anybody there could call"),
        ({"tls_cert": "c"}, "belong together"),
        ({"tls_client_ca": "c"}, "needs TLS"),
    ],
)
def test_other_machines_are_served_only_safely_or_when_told_twice(settings: dict[str, Any], said: str) -> None:
    with (
        pytest.raises(Misconfigured, match=said),
        serving(GatewayConfig(port=0, host=ALL, **settings)),
    ):
        pass


def test_told_twice_it_serves_other_machines_in_clear() -> None:
    config = GatewayConfig(port=0, host=ALL, allow_plaintext=True, plaintext_host=ALL, allow_anonymous=True)
    with serving(config) as address, RaytideClient(address) as client:
        assert age_of(client) == ["NOT_FOUND"]


def test_files_that_are_wrong_stop_the_start_and_name_the_setting(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.sign("one"), authority.sign("other")
    open_key = authority.sign("open")
    open_key.key.chmod(0o640)
    for config, said in (
        (tls(Pair(one.cert, other.key)), "do not fit together"),
        (tls(open_key), "open to others"),
        (tls(Pair(tmp_path / "none", one.key)), r"tls_cert .* cannot be read"),
        (tls(one, tls_client_ca=str(one.key)), "holds no certificate"),
        (GatewayConfig(port=0, tokens=str(tmp_path / "none")), r"tokens .* cannot be read"),
    ):
        with pytest.raises(Misconfigured, match=said), serving(config):
            pass


def test_a_call_without_its_message_is_refused() -> None:
    with serving(GatewayConfig(port=0)) as address, grpc.insecure_channel(address) as channel:
        call: Any = channel.stream_unary("/featurestore.v1.AdminService/GetStatus")
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()), timeout=20)
        assert "no message" in str(caught.value.details())
        with pytest.raises(grpc.RpcError) as caught:
            call(iter([b"\xff\xff\xff"]), timeout=20)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        with RaytideClient(address) as client:
            assert client.status().project == "shop"
