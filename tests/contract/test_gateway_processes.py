"""Gateway processes that share a port: each has a part of the connections, and those of one that is killed go on at another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from cluster.config import GatewayConfig
from cluster.errors import Unreachable
from cluster.stack.process import free_port
from raytide import channels
from raytide.client import RaytideClient
from tests.online_world import OnlineBackend, serving

CLIENTS = 16


@contextmanager
def process(port: int) -> Iterator[subprocess.Popen[str]]:
    """Start a gateway process at `port`; it is ended with the block, if it still runs."""
    command = [sys.executable, "-m", "tests.gateway_process", str(port)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with started:
        assert started.stdout is not None
        assert started.stdout.readline().strip() == str(port)
        try:
            yield started
        finally:
            started.kill()


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[RaytideClient]]]:
    """Give what makes clients with connections of their own, as those of different programs are."""
    monkeypatch.setattr(channels, "OPTIONS", (*channels.OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
    with ExitStack() as stack:
        yield lambda port: [stack.enter_context(RaytideClient(f"127.0.0.1:{port}", timeout_s=20)) for _ in range(CLIENTS)]


def read(client: RaytideClient) -> None:
    assert client.get_online_features(["user_age"], ["nobody"]).statuses == [["NOT_FOUND"]]


def connections(gateway: subprocess.Popen[str], port: int) -> int:
    found = psutil.Process(gateway.pid).net_connections("tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in found)


def test_reads_go_on_when_a_process_is_killed_and_come_to_its_successor(
    clients: Callable[[int], list[RaytideClient]],
) -> None:
    port = free_port()
    with process(port) as one, process(port) as other:
        some = clients(port)
        for client in some:
            read(client)
        shares = [connections(gateway, port) for gateway in (one, other)]
        assert all(shares)
        assert sum(shares) == CLIENTS
        one.kill()
        one.wait(20)
        for client in some:
            read(client)
        assert connections(other, port) == CLIENTS
        with process(port) as successor:
            for client in clients(port):
                read(client)
            assert connections(successor, port)
            other.kill()
            other.wait(20)
            for client in some:
                read(client)


def test_a_gateway_that_is_alone_does_not_share_its_port() -> None:
    with serving(OnlineBackend()) as address:
        port = int(address.rpartition(":")[2])
        with serving(OnlineBackend(), GatewayConfig(port=port, processes=2)) as elsewhere:
            assert elsewhere != address


def test_when_all_are_gone_it_is_said(clients: Callable[[int], list[RaytideClient]]) -> None:
    with pytest.raises(Unreachable):
        read(clients(free_port())[0])
