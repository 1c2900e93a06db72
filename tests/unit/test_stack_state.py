from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.errors import Misconfigured
from cluster.stack import kafka, manager, process, state
from cluster.stack.process import ProcessId, alive, free_port, identify, is_free
from cluster.stack.state import Service

ME = identify(os.getpid())


def service(process_id: ProcessId, name: str = "valkey") -> Service:
    return Service(name, process_id, (1234,), "some.log", "a note")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    services = (service(ProcessId(1, 2.5)), service(ProcessId(3, 4.75), "kafka-1"))
    state.write(tmp_path, services, {"redis_url": "redis://x"})
    assert state.read(tmp_path) == services
    assert json.loads((tmp_path / state.FILE_NAME).read_text())["redis_url"] == "redis://x"


def test_nothing_was_started_without_a_file(tmp_path: Path) -> None:
    assert state.read(tmp_path) == ()
    assert not manager.status(tmp_path).running


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"services": [{"name": "valkey"}]}', '{"services": [1]}'])
def test_a_file_that_is_not_ours_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / state.FILE_NAME).write_text(content)
    with pytest.raises(Misconfigured, match=r"stack\.json.*delete it"):
        state.read(tmp_path)


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (service(ProcessId(1, 2.5)),)
    state.write(tmp_path, before, {})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        state.write(tmp_path, (), {})
    assert state.read(tmp_path) == before


def test_a_process_is_alive_only_with_its_own_start() -> None:
    assert ME is not None
    assert alive(ME)
    assert not alive(ProcessId(ME.pid, ME.started - 1))


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        known = identify(child.pid)
        assert known is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but still there for its parent to ask about
        assert not alive(known)


def test_a_pid_that_somebody_else_has_now_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        now = identify(child.pid)
        assert now is not None
        state.write(tmp_path, (service(ProcessId(now.pid, now.started - 100)),), {})
        assert [s.running for s in manager.status(tmp_path).services] == [False]
        manager.down(tmp_path)
        assert child.poll() is None
        child.kill()
    assert state.read(tmp_path) == ()


def test_stop_kills_what_does_not_listen() -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        known = identify(child.pid)
        assert known is not None
        process.stop([known], grace_seconds=0.2)
        assert child.wait(timeout=5) == -9


def test_a_spawned_process_has_its_own_session_folder_and_output(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    code = (
        "import os; print(os.getcwd(), os.environ['NAME'], os.getsid(0), flush=True); os.read(os.open('pipe', os.O_RDONLY), 1)"
    )
    os.mkfifo(folder / "pipe")
    output = tmp_path / "out put"
    known = process.spawn([sys.executable, "-c", code], folder, output, {**os.environ, "NAME": "value"})
    assert known is not None
    (folder / "pipe").write_text("x")  # waits until the process reads
    cwd, name, session = output.read_text().rsplit(maxsplit=2)
    assert (cwd, name) == (str(folder), "value")
    assert int(session) != os.getsid(0)


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((process.HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        chosen, note = manager._port(port, (), process.HOST)
        assert chosen != port
        assert note == f"port {port} is taken, {chosen} is used instead"


def test_a_free_port_is_kept_and_taken_ones_are_avoided() -> None:
    port = free_port()
    assert manager._port(port, (), process.HOST) == (port, "")
    others = set(process._FREE_PORTS) - {port}
    assert free_port(taken=others) == port


@pytest.mark.parametrize(("found", "wished", "size"), [(0, None, 1), (0, 3, 3), (3, None, 3), (1, 1, 1)])
def test_the_cluster_is_as_large_as_its_data(tmp_path: Path, found: int, wished: int | None, size: int) -> None:
    for number in range(1, found + 1):
        (tmp_path / "kafka" / str(number)).mkdir(parents=True)
    assert manager._cluster_size(tmp_path, wished) == size


@pytest.mark.parametrize(
    ("found", "wished", "message"), [(0, 2, "2 brokers"), (1, 3, "data of 1 broker"), (3, 1, "data of 3 broker")]
)
def test_a_size_that_cannot_be_is_refused(tmp_path: Path, found: int, wished: int, message: str) -> None:
    for number in range(1, found + 1):
        (tmp_path / "kafka" / str(number)).mkdir(parents=True)
    with pytest.raises(Misconfigured, match=message):
        manager._cluster_size(tmp_path, wished)


def test_three_nodes_keep_two_copies(tmp_path: Path) -> None:
    nodes = [kafka.Node(n, tmp_path / "kafka" / str(n), 9000 + n, 9100 + n) for n in (1, 2, 3)]
    kafka.configure(nodes[1], nodes)
    lines = (nodes[1].folder / "server.properties").read_text().splitlines()
    assert "node.id=2" in lines
    assert "controller.quorum.voters=1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103" in lines
    assert {"default.replication.factor=3", "min.insync.replicas=2", "auto.create.topics.enable=false"} <= set(lines)
    assert "{" not in "".join(lines)


def test_a_stack_listens_where_it_is_told_and_stays_there(tmp_path: Path) -> None:
    nodes = [kafka.Node(1, tmp_path / "kafka" / "1", 9001, 9101, "192.0.2.1")]
    kafka.configure(nodes[0], nodes)
    lines = (nodes[0].folder / "server.properties").read_text().splitlines()
    assert "advertised.listeners=PLAINTEXT://192.0.2.1:9001" in lines
    there = Service("kafka-1", ProcessId(1, 2.5), (9001,), "some.log", host="192.0.2.1")
    assert manager._host([there], None) == "192.0.2.1"
    assert manager._host([], None) == process.HOST
    with pytest.raises(Misconfigured, match=r"listens at 192\.0\.2\.1: `raytide stack down`"):
        manager._host([there], process.HOST)


def test_a_cluster_id_never_reads_as_an_option() -> None:
    ids = [kafka._new_id() for _ in range(2_000)]  # one in 64 would, left to chance
    assert {len(text) for text in ids} == {22}
    assert not [text for text in ids if text.startswith("-")]


def test_nobody_at_a_port_is_no_answer() -> None:
    assert not kafka.answers(free_port(), timeout_s=0.2)
