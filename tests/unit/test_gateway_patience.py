"""A client stream is waited for, but not for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.gateway.patience import Patience


class Call:
    """A call whose next message never comes; cancelling it ends the wait, as gRPC does."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

        self.gone: list[Any] = []

    def add_callback(self, callback: Any) -> bool:
        self.gone.append(callback)
        return True

    def cancel(self) -> None:
        self.cancelled.set()

    def messages(self) -> Iterator[str]:
        yield "header"
        assert self.cancelled.wait(10)
        raise ConnectionError("cancelled")


@pytest.fixture
def patience() -> Iterator[Patience]:
    made = Patience(0.05)
    made.start()
    yield made
    made.stop()


def test_a_message_that_does_not_come_cancels_its_call_alone(patience: Patience) -> None:
    silent: Any = Call()
    other: Any = Call()
    waiting = patience.messages(iter(["a", "b"]), other)
    assert next(waiting) == "a"
    messages = patience.messages(silent.messages(), silent)
    assert next(messages) == "header"
    with pytest.raises(ConnectionError):
        next(messages)
    # The other handler was busy with its first message for longer than that, which is its own affair.
    assert not other.cancelled.is_set()
    assert list(waiting) == ["b"]


def test_an_answer_that_is_not_read_cancels_its_call_alone(patience: Patience) -> None:
    unread: Any = Call()
    read: Any = Call()
    patience.until_read(read)
    read.gone[0]()
    patience.until_read(unread)
    assert unread.cancelled.wait(10)
    assert not read.cancelled.is_set()


def test_an_answer_of_a_stream_that_is_not_taken_cancels_its_call_alone(patience: Patience) -> None:
    unread: Any = Call()
    read: Any = Call()
    assert list(patience.taken(iter(["a", "b"]), read)) == ["a", "b"]
    held = patience.taken(iter(["a", "b"]), unread)
    assert next(held) == "a"
    assert unread.cancelled.wait(10)
    assert not read.cancelled.is_set()


def test_a_patience_that_never_started_can_be_stopped() -> None:
    Patience(1).stop()
