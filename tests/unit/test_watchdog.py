"""Calls that take too long are ended, and nothing else ever is."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from cluster.ingest.watchdog import EXIT_CODE, WATCHDOG, Stretch, TooLate, Watchdog, _TimedOut


def stretch(limit_s: float, progress: Callable[[], int] = lambda: 0, total_s: float = 1_000, grace_s: float = 1_000) -> Stretch:
    return Stretch("slow", progress, limit_s, total_s, grace_s)


def never() -> None:
    while True:
        pass


@pytest.fixture
def eager() -> Iterator[None]:
    """Let threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_call_in_time_returns_what_it_returns() -> None:
    assert WATCHDOG.run(stretch(1), lambda: 7) == 7


def test_an_error_of_a_call_is_its_own() -> None:
    with pytest.raises(KeyError):
        WATCHDOG.run(stretch(1), lambda: {"y": 1}["x"])


def test_a_loop_that_never_ends_is_ended() -> None:
    with pytest.raises(TooLate):
        WATCHDOG.run(stretch(0.02), never)


def test_a_loop_that_swallows_exceptions_is_ended() -> None:
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):  # as users write
                never()

    with pytest.raises(TooLate):
        WATCHDOG.run(stretch(0.02), stubborn)


def test_calls_that_go_on_are_not_late_until_all_together_are() -> None:
    done: list[int] = []

    def calls() -> None:
        while True:
            time.sleep(0.005)
            done.append(1)

    with pytest.raises(TooLate):
        WATCHDOG.run(stretch(0.5, done.__len__, total_s=0.6), calls)
    assert len(done) > 10


def test_the_call_that_is_late_is_named() -> None:
    done: list[int] = []

    def calls() -> None:
        done.extend([1, 2, 3])
        never()

    with pytest.raises(TooLate) as caught:
        WATCHDOG.run(stretch(0.02, done.__len__), calls)
    assert caught.value.over == 3


def test_what_was_frozen_is_not_late() -> None:
    ahead = [0.0]
    dog = Watchdog(lambda: time.monotonic() + ahead[0])

    def calls() -> int:
        for _ in range(10):
            time.sleep(0.02)
            ahead[0] += 3_600
        return 7

    assert dog.run(stretch(60), calls) == 7
    assert dog.clock < 60


def test_a_call_stuck_outside_of_python_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck: list[str] = []
    monkeypatch.setattr(WATCHDOG, "on_stuck", stuck.append)
    with pytest.raises(TooLate):
        WATCHDOG.run(stretch(0.02, grace_s=0.02), lambda: time.sleep(1))
    assert stuck == ["slow"]


def test_calls_after_one_that_swallowed_its_end_are_watched_and_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck: list[str] = []
    monkeypatch.setattr(WATCHDOG, "on_stuck", stuck.append)
    done: list[int] = []

    def calls() -> None:
        with contextlib.suppress(BaseException):  # as a bare `except:` does
            never()
        for _ in range(60):
            done.append(1)
            time.sleep(0.01)
        never()

    with pytest.raises(TooLate) as caught:
        WATCHDOG.run(stretch(0.2, done.__len__, grace_s=0.2), calls)
    assert (caught.value.over, stuck) == (60, [])


STUCK = """
import time
from cluster.ingest.watchdog import WATCHDOG, Stretch
WATCHDOG.run(Stretch("slow", lambda: 0, 0.1, 100, 0.1), lambda: time.sleep(3600))
"""


def test_the_process_ends_when_nothing_else_helps() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_CODE
    assert "feature_function_stuck" in done.stdout + done.stderr
    assert "slow" in done.stdout + done.stderr


def busy(seconds: float) -> int:
    end = time.perf_counter() + seconds
    turns = 0
    while time.perf_counter() < end:
        turns += 1
    return turns


@pytest.mark.usefixtures("eager")
def test_an_exception_never_comes_after_the_call() -> None:
    """Calls of every length around the limit: each ends with a result or as late, and what follows runs to its end."""
    chance = random.Random(1)
    dog, ended = Watchdog(), 0
    for _ in range(1_500):
        try:
            dog.run(stretch(0.001), lambda: busy(chance.uniform(0, 0.006)))
        except TooLate:
            ended += 1
        assert sum(1 for _ in range(200)) == 200
    assert 0 < ended < 1_500


@pytest.mark.usefixtures("eager")
def test_an_exception_at_any_time_is_absorbed() -> None:
    """Another thread fires as soon as it sees a stretch, which is within the call or when it was just left."""
    current: list[Stretch | None] = [None]
    chance, over, ended = random.Random(2), threading.Event(), 0

    def fire() -> None:
        while not over.is_set():
            if (seen := current[0]) is not None:
                current[0] = None
                seen.fire(0.0)

    def call(mine: Stretch, length: int) -> int:
        current[0] = mine
        return sum(1 for _ in range(length))

    thread = threading.Thread(target=fire)
    thread.start()
    try:
        for _ in range(5_000):
            mine, length = stretch(1_000), chance.randrange(1_000)
            try:
                assert WATCHDOG.run(mine, partial(call, mine, length)) == length
            except TooLate:
                ended += 1
            assert sum(1 for _ in range(20)) == 20
    finally:
        over.set()
        thread.join()
    assert ended


class Interrupted(Stretch):
    """Its thread gets the exception while it leaves, before or after the work is done."""

    work_first = False
    times = 0

    def leave(self) -> None:
        self.times += 1
        if self.work_first or self.times > 1:
            super().leave()
        if self.times == 1:
            raise _TimedOut


@pytest.mark.parametrize("work_first", [False, True])
@pytest.mark.parametrize("error", [None, KeyError])
def test_leaving_may_be_interrupted(*, work_first: bool, error: type[Exception] | None) -> None:
    def call() -> int:
        if error:
            raise error
        return 7

    mine = Interrupted("slow", lambda: 0, 1, 1, 1)
    mine.work_first = work_first
    with pytest.raises(TooLate):
        WATCHDOG.run(mine, call)
    mine.fire(0.0)
    assert mine.over == -1, "it has left, so nothing is raised in its thread any more"
    assert threading.get_ident() not in WATCHDOG._stretches
