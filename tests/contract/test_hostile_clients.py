"""Clients that are in the wrong, or mean harm, at one gateway: each is told so, and others are served all the while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
import structlog
from featurestore.v1 import admin_pb2, admin_pb2_grpc
from pydantic import SecretStr

from cluster.config import ClientConfig, GatewayConfig
from cluster.errors import Busy, Forbidden, OverLimit, Unauthenticated, Unreachable
from cluster.gateway.denials import Denials
from raytide.channels import open_channel
from raytide.client import RaytideClient
from tests.certificates import Authority
from tests.guarded_gateway import Behind, age_of, serving, tokens_file

HONEST, READER, ADMIN = ("honest-" + "h" * 32, "reader-" + "r" * 32, "admin-" + "a" * 32)
MOST_CALLS = 4
SERVED = 5


@dataclass
class World:
    """A gateway with all its guards, and what it takes to call it."""

    address: str
    behind: Behind
    authority: Authority

    def access(self, token: str | None, lasts: timedelta = timedelta(hours=1)) -> ClientConfig:
        pair = self.authority.sign(f"client-{lasts.total_seconds():.0f}", lasts)
        secret = SecretStr(token) if token else None
        return ClientConfig(ca=str(self.authority.ca), cert=str(pair.cert), key=str(pair.key), token=secret)

    def client(self, token: str | None, lasts: timedelta = timedelta(hours=1)) -> RaytideClient:
        return RaytideClient(self.address, timeout_s=30, access=self.access(token, lasts))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority, behind = Authority(tmp_path), Behind()
    pair = authority.sign("gateway")
    config = GatewayConfig(
        port=0,
        tls_cert=str(pair.cert),
        tls_key=str(pair.key),
        tls_client_ca=str(authority.ca),
        tokens=tokens_file(tmp_path, f"model reader {HONEST}", f"other reader {READER}", f"operator admin {ADMIN}"),
        max_concurrent_calls=16,
        max_calls_per_client=MOST_CALLS,
        default_timeout_s=4,
        denials_logged_per_minute=3,
    )
    with serving(config, behind) as address:
        yield World(address, behind, authority)


@contextmanager
def served(world: World) -> Iterator[threading.Semaphore]:
    """Read online all the while; give what counts the answers, and raise what an answer failed with."""
    stop, answers, failed = threading.Event(), threading.Semaphore(0), list[Exception]()

    def read() -> None:
        try:
            with world.client(HONEST) as client:
                while not stop.is_set():
                    assert age_of(client) == ["NOT_FOUND"]
                    answers.release()
        except Exception as error:  # noqa: BLE001 - raised below, where it is seen
            failed.append(error)
            answers.release(SERVED)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        take(answers)
        yield answers
    finally:
        stop.set()
        thread.join(30)
    assert not failed


def take(answers: threading.Semaphore) -> None:
    """Wait for some more answers."""
    for _ in range(SERVED):
        assert answers.acquire(timeout=30)


def no_token(world: World) -> None:
    with world.client(None) as client, pytest.raises(Unauthenticated, match="RAYTIDE_CLIENT__TOKEN"):
        age_of(client)


def wrong_token(world: World) -> None:
    with world.client("w" * 40) as client, pytest.raises(Unauthenticated, match="does not know the token"):
        age_of(client)


def expired_certificate(world: World) -> None:
    with world.client(READER, timedelta(hours=-1)) as client, pytest.raises(Unreachable, match=r"client\.cert"):
        age_of(client)


def reader_who_administers(world: World) -> None:
    with world.client(READER) as client, pytest.raises(Forbidden, match="for the role admin"):
        client.sql("SELECT 1")


def message_of_50_mb(world: World) -> None:
    with world.client(READER) as client, pytest.raises(OverLimit, match="send less in one call"):
        client.get_online_features(["profile"], ["x" * 50_000_000])


def a_hundred_thousand_entities(world: World) -> None:
    with world.client(READER) as client, pytest.raises(OverLimit, match=r"gateway\.max_entities"):
        client.get_online_features(["profile"], [f"u{n}" for n in range(100_000)])


def two_thousand_calls(world: World) -> None:
    world.behind.gate.clear()
    ended = threading.Semaphore(0)
    with open_channel(world.address, world.access(READER)) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        calls = [stub.GetStatus.future(admin_pb2.GetStatusRequest(), timeout=60) for _ in range(2_000)]
        for call in calls:
            call.add_done_callback(lambda _: ended.release())
        for _ in range(2_000 - MOST_CALLS):
            assert ended.acquire(timeout=30)
        told = Counter(call.code().name for call in calls if call.done())
        assert told == {"RESOURCE_EXHAUSTED": 2_000 - MOST_CALLS}
        running = [call for call in calls if not call.done()]
        world.behind.gate.set()
        assert [call.result(timeout=20).project for call in running] == ["shop"] * MOST_CALLS


def streams_that_are_never_read(world: World) -> None:
    world.behind.table = pa.table({"text": ["x" * 1_000] * 50_000})
    with open_channel(world.address, world.access(ADMIN)) as channel, world.client(ADMIN) as same:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        unread = [stub.RunSql(admin_pb2.RunSqlRequest(statement="SELECT 1"), timeout=60) for _ in range(MOST_CALLS)]
        for stream in unread:
            next(stream)
        with pytest.raises(Busy, match=r"gateway\.max_calls_per_client"):
            same.status()
        once_admitted(same)
        ended = {ending(stream) for stream in unread}  # one was; others that were not yet are read now
        assert ended in ({"CANCELLED"}, {"CANCELLED", "OK"})


def ending(stream: Any) -> str:
    """Read a stream to its end, and return its code."""
    with contextlib.suppress(grpc.RpcError):
        list(stream)
    return str(stream.code().name)


def once_admitted(client: RaytideClient) -> None:
    """Call until the gateway has ended the calls of this client that do nothing."""
    deadline = time.monotonic() + 60
    while True:
        try:
            client.status()
        except Busy:
            assert time.monotonic() < deadline, "the calls were not ended"
            time.sleep(0.05)  # the gateway does not say when, and calling is how one learns
        else:
            return


ATTACKS = [
    no_token,
    wrong_token,
    expired_certificate,
    reader_who_administers,
    message_of_50_mb,
    a_hundred_thousand_entities,
    two_thousand_calls,
    streams_that_are_never_read,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_each_is_told_and_others_are_served_meanwhile(world: World, attack: Callable[[World], None]) -> None:
    with served(world) as answers:
        attack(world)
        take(answers)


def test_denied_calls_are_logged_without_secrets_and_not_without_end(world: World) -> None:
    with structlog.testing.capture_logs() as logs:
        for attack in (no_token, wrong_token, reader_who_administers, wrong_token):
            attack(world)
    told = [(entry["event"], entry["method"].rpartition("/")[2], entry["kind"]) for entry in logs]
    assert told == [
        ("call_denied", "GetOnlineFeatures", "Unauthenticated"),
        ("call_denied", "GetOnlineFeatures", "Unauthenticated"),
        ("call_denied", "RunSql", "Forbidden"),
    ]
    assert all(entry["peer"].startswith("ipv4:127.0.0.1:") for entry in logs)
    assert not [secret for secret in (READER, "w" * 40) if secret in str(logs)]


class Peer:
    """The part of a call's context that is logged."""

    def peer(self) -> str:
        return "ipv4:192.0.2.1:7"


def test_what_is_left_out_of_the_log_is_counted_in_a_later_minute() -> None:
    now = [0.0]
    denials = Denials(2, lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            denials.note("/s/m", Peer(), Unauthenticated("no"))  # type: ignore[arg-type] # all it needs
        now[0] = 61.0
        denials.note("/s/m", Peer(), Forbidden("no"))  # type: ignore[arg-type] # as above
        denials.note("/s/m", Peer(), OverLimit("no"))  # type: ignore[arg-type] # no denial
    assert [(entry["event"], entry.get("count")) for entry in logs] == [
        ("call_denied", None),
        ("call_denied", None),
        ("calls_denied_left_out", 3),
        ("call_denied", None),
    ]
