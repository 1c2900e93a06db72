"""What only a real Ray can show: errors over the wire, restarts, and the cap held across processes."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors import handles
from actors.clients import SlotClient
from actors.limiter import Limiter
from actors.spare import WANTED, Spares
from cluster.config import WorkersConfig
from cluster.errors import Fenced, RaytideError, RetryLater
from cluster.ingest.leases import Claim, Kind
from cluster.priority import give_way

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(120)]


class Echo:
    """Answers, fails and dies on demand."""

    def __init__(self, word: str) -> None:
        self.word = word

    def say(self) -> tuple[str, int]:
        return self.word, os.getpid()

    def be_fenced(self) -> None:
        raise Fenced("orders", 3, 7, 9)

    def fail(self) -> None:
        raise KeyError(self.word)

    def niceness(self) -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    def die(self) -> None:
        os._exit(1)


@pytest.fixture
def name() -> Iterator[str]:
    unique = f"echo:{uuid.uuid4().hex}"
    yield unique
    handles.kill(unique)


def eventually(call: Any, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except RetryLater:
            assert time.monotonic() < deadline, "it did not come back in time"
            time.sleep(0.1)


def test_an_actor_is_made_once_and_found_by_name(name: str) -> None:
    handles.ensure(Echo, name, "first")
    handles.ensure(Echo, name, "second")
    assert handles.Remote(name).call("say")[0] == "first"
    assert name in handles.names()
    assert handles.find(f"{name}-other") is None


def test_an_actor_has_the_priority_of_any_program_and_a_task_that_can_wait_a_lower_one(name: str) -> None:
    def waits() -> int:
        give_way()
        return os.getpriority(os.PRIO_PROCESS, 0)

    handles.ensure(Echo, name, "x")
    assert handles.Remote(name).call("niceness") == os.getpriority(os.PRIO_PROCESS, 0)
    assert ray.get(ray.remote(num_cpus=0)(waits).remote()) >= handles.Remote(name).call("niceness") + 10


def test_an_error_of_ours_arrives_as_itself(name: str) -> None:
    handles.ensure(Echo, name, "x")
    with pytest.raises(Fenced) as caught:
        handles.Remote(name).call("be_fenced")
    assert (caught.value.topic, caught.value.partition, caught.value.epoch, caught.value.current) == ("orders", 3, 7, 9)
    with pytest.raises(Fenced):
        handles.Remote(name).submit("be_fenced").result(30)


def test_an_error_of_nobody_is_not_taken_for_ours(name: str) -> None:
    handles.ensure(Echo, name, "x")
    with pytest.raises(KeyError) as caught:
        handles.Remote(name).call("fail")
    assert not isinstance(caught.value, RaytideError)


def test_a_dead_process_means_retry_and_comes_back_with_its_arguments(name: str) -> None:
    handles.ensure(Echo, name, "kept")
    remote = handles.Remote(name)
    _, before = remote.call("say")
    with pytest.raises(RetryLater):
        remote.call("die")
    word, after = eventually(lambda: remote.call("say"))
    assert word == "kept"
    assert after != before


class Keeper:
    """Keeps spare workers, as the supervisor does."""

    def __init__(self) -> None:
        self.spares = Spares()

    def keep(self) -> list[int]:
        return self.spares.keep()


def test_a_dead_actor_is_built_anew_in_a_spare_worker(name: str) -> None:
    handles.ensure(Echo, name, "kept")
    handles.ensure(Keeper, f"{name}-keeper")
    remote, keeper = handles.Remote(name), handles.Remote(f"{name}-keeper")
    _, before = remote.call("say")

    def waiting() -> list[int]:
        if len(found := keeper.call("keep")) < WANTED:
            raise RetryLater("still starting")
        return list(found)

    spares = eventually(waiting)
    assert before not in spares
    os.kill(before, 9)
    _, after = eventually(lambda: remote.call("say"))
    assert after in spares
    handles.kill(f"{name}-keeper")


def test_a_missing_actor_means_retry(name: str) -> None:
    with pytest.raises(RetryLater, match="does not run"):
        handles.Remote(name).call("say")


def test_an_actor_that_was_made_again_is_found_again(name: str) -> None:
    handles.ensure(Echo, name, "old")
    remote = handles.Remote(name)
    assert remote.call("say")[0] == "old"
    handles.kill(name)
    eventually(lambda: _gone(name))
    handles.ensure(Echo, name, "new")
    assert eventually(lambda: remote.call("say"))[0] == "new"


def _gone(name: str) -> None:
    if handles.find(name) is not None:
        raise RetryLater("still there")


@pytest.fixture
def limiter() -> Iterator[handles.Remote]:
    handles.ensure(Limiter, handles.LIMITER, WorkersConfig(max=3, reserved_for_streams=1))
    yield handles.Remote(handles.LIMITER)
    handles.kill(handles.LIMITER)
    eventually(lambda: _gone(handles.LIMITER))


def test_the_cap_holds_and_a_freed_slot_goes_to_who_waits(limiter: handles.Remote) -> None:
    slots = [SlotClient(Claim(f"gateway:a:{n}", Kind.UPLOAD, f"upload-{n}")) for n in range(3)]
    slots[0].hold()
    slots[1].hold()
    waiting = threading.Thread(target=slots[2].hold)
    waiting.start()
    eventually(lambda: _waits(limiter, 1))
    stream = SlotClient(Claim("partition:t:0", Kind.STREAM, "partition:t:0"))
    stream.hold()  # the reserved slot is free for it
    assert limiter.call("snapshot").most_at_once == 3
    slots[0].release()
    waiting.join(30)
    assert not waiting.is_alive()
    held = {slot.holder for slot in limiter.call("snapshot").held}
    assert held == {"gateway:a:1", "gateway:a:2", "partition:t:0"}
    limiter.call("release_job", "gateway:a:")
    assert {slot.holder for slot in limiter.call("snapshot").held} == {"partition:t:0"}


def _waits(limiter: handles.Remote, count: int) -> None:
    if len(limiter.call("snapshot").waiting) != count:
        raise RetryLater("not yet")


def test_a_limiter_that_died_gives_holders_their_slots_again(limiter: handles.Remote) -> None:
    slot = SlotClient(Claim("partition:t:0", Kind.STREAM, "partition:t:0"))
    slot.hold()
    pid = limiter.call("__ray_call__", _pid)
    os.kill(pid, 9)
    slot.renew()
    assert [held.holder for held in eventually(lambda: limiter.call("snapshot")).held] == ["partition:t:0"]


def _pid(_actor: object) -> int:
    return os.getpid()
