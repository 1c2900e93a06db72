"""A gateway of two processes on real parts: when one is killed, nobody who reads notices, and files go on at the other."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from cluster.stores.ports import UploadState
from raytide import channels
from raytide.answers import UploadProgressView
from raytide.client import RaytideClient
from tests.fault.world import World, eventually, kill

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(300)]

CLIENTS = 16
READS = 20
ROWS = 200_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("two gateways") / "app"
    with World(folder, settings={"RAYTIDE_GATEWAY__PROCESSES": "2"}).running() as running:
        yield running


@pytest.fixture
def own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each client have a connection of its own, as clients in different programs have."""
    monkeypatch.setattr(channels, "OPTIONS", (*channels.OPTIONS, ("grpc.use_local_subchannel_pool", 1)))


def processes(world: World) -> dict[str, int]:
    """Return the gateway's processes that live, by name."""
    return {name: pid for name, pid in world.actors().items() if name.startswith("gateway:")}


def connections(world: World, pid: int) -> int:
    """Return how many connections a process of the gateway has from clients."""
    port = int(world.gateway().rpartition(":")[2])
    open_ones = psutil.Process(pid).net_connections("tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in open_ones)


def both_run(world: World) -> dict[str, int]:
    def run() -> dict[str, int]:
        found = processes(world)
        shown = {g.name: g.state for g in world.client.status().gateways}
        return found if Counter(shown.values()) == {"RUNNING": 2} and shown.keys() == found.keys() else {}

    return dict(eventually(run, "both processes of the gateway run"))


def replaced(world: World, name: str, pid: int) -> None:
    eventually(lambda: processes(world).get(name, pid) != pid, "the killed process is replaced")
    both_run(world)


@pytest.mark.usefixtures("own_connections")
def test_reads_go_on_while_a_process_is_killed_and_replaced(world: World) -> None:
    pids = both_run(world)
    answered, stop, killed = threading.Semaphore(0), threading.Event(), threading.Event()

    def read(client: RaytideClient) -> int:
        after = 0
        while not stop.is_set():
            assert client.get_online_features(["risk_score"], ["nobody"]).statuses[0] == ["NOT_FOUND"]
            after += killed.is_set()
            answered.release()
        return after

    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [stack.enter_context(RaytideClient(world.gateway(), timeout_s=30)) for _ in range(CLIENTS)]
        reading = [pool.submit(read, client) for client in clients]
        try:
            take(answered)
            assert all(connections(world, pid) for pid in pids.values())
            name, pid = next(iter(pids.items()))
            kill(pid)
            killed.set()
            take(answered)
            replaced(world, name, pid)
        finally:
            stop.set()
        assert all(after.result(60) for after in reading)


def take(answered: threading.Semaphore) -> None:
    """Wait until as many reads were answered as all clients together may make in a moment."""
    for _ in range(CLIENTS * READS):
        assert answered.acquire(timeout=60)


def test_another_number_of_processes_is_put_in_force_at_the_same_address(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    address = world.gateway()
    with monkeypatch.context() as three:
        three.setitem(world._settings, "RAYTIDE_GATEWAY__PROCESSES", "3")
        world.app_up()
        assert len([name for name in world.actors() if name.startswith("gateway:")]) == 3
    world.app_up()
    assert len(both_run(world)) == 2
    assert world.gateway() == address


RECEIVED = 3 * 2**20
WHEN: dict[str, Callable[[UploadProgressView], bool]] = {
    "received": lambda view: view.upload.state is UploadState.RECEIVING and view.received > RECEIVED,
    "worked on": lambda view: view.pieces_done > 0,
}


@pytest.mark.usefixtures("own_connections")
@pytest.mark.parametrize("moment", WHEN)
def test_a_file_whose_process_is_killed_goes_on(world: World, tmp_path: Path, moment: str) -> None:
    pids, marker, killed = both_run(world), uuid.uuid4().hex[:8], list[str]()
    after: list[UploadProgressView] = []

    def look(view: UploadProgressView) -> None:
        if killed:
            after.append(view)
        elif WHEN[moment](view):
            killed.append(next(name for name, pid in pids.items() if connections(world, pid)))
            kill(pids[killed[0]])

    world._forget_client()  # so that the only connection is the one that brings the file
    with RaytideClient(world.gateway(), timeout_s=30) as client:
        upload = client.upload_file(a_file(tmp_path, marker), source="features", progress=look)
    assert (upload.state, upload.rows, upload.rejected) == (UploadState.DONE, ROWS, 0)
    assert killed
    if moment == "received":
        assert after[0].received > RECEIVED // 2, "it was not sent again from its start"
    counted = world.sql(f"SELECT count(*) AS n FROM features WHERE entity_id LIKE '{marker}%'")
    assert counted == [{"n": ROWS}]
    replaced(world, killed[0], pids[killed[0]])
    assert world.client.verify(30)["ok"]


def a_file(folder: Path, marker: str) -> Path:
    path = folder / "many.csv"
    lines = (f"{marker}-{n % 1_000},account_balance,{n},2026-01-31T12:00:00Z\n" for n in range(ROWS))
    path.write_text("entity_id,feature_name,value,validated_at\n" + "".join(lines), encoding="utf-8")
    return path
