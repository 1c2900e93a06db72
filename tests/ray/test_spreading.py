"""Partitions that are too many on their node are drained and ended; Ray's calls are doubled, the rest is real."""

from __future__ import annotations

from typing import Any

import pytest

from actors import handles
from actors.spreading import STARTING_ON_A_NODE, Key, Spreading
from cluster.ingest.stream import Progress, State
from cluster.placement import Node

A, B, C = "a" * 56, "b" * 56, "c" * 56  # as long as Ray's


class FakeCalls:
    """Nodes that come and go, and a note of what was drained and ended, in that order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes: list[str] = [A, B]
        self.said: list[str] = []
        monkeypatch.setattr(handles, "nodes", lambda: [Node(name, name) for name in self.nodes])
        monkeypatch.setattr(handles, "Remote", self._remote)
        monkeypatch.setattr(handles, "value", lambda ref, *_: self.said.append(f"drained {ref}"))
        monkeypatch.setattr(handles, "end", lambda name, _: self.said.append(f"ended {name}"))

    def _remote(self, name: str) -> Any:
        return type("Remote", (), {"start": lambda _self, method, _seconds: f"{method} {name}"})()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> FakeCalls:
    return FakeCalls(monkeypatch)


def on(node: str, count: int, state: State = State.RUNNING) -> dict[Key, Progress]:
    return {("t", number): Progress(state=state, node=node) for number in range(count)}


def test_a_node_that_came_gets_its_share_after_a_drain(calls: FakeCalls) -> None:
    spreading, there = Spreading(), on(A, 3)
    spreading.look()
    assert spreading.end_surplus(there) == [("t", 2)]
    assert calls.said == ["drained drain partition:t:2", "ended partition:t:2"]
    del there["t", 2]
    assert spreading.strategy(there)[0] == B


def test_at_most_one_for_each_node_moves_at_a_look(calls: FakeCalls) -> None:
    spreading = Spreading()
    spreading.look()
    assert len(spreading.end_surplus(on(A, 20))) == len(calls.nodes)


def test_nothing_moves_while_one_is_being_placed(calls: FakeCalls) -> None:
    spreading = Spreading()
    spreading.look()
    for state in (State.STARTING, State.AWAY):
        assert spreading.end_surplus({**on(A, 4), ("other", 0): Progress(state=state, node=B)}) == []
    assert calls.said == []


def test_halted_ones_and_those_of_a_single_node_stay(calls: FakeCalls) -> None:
    spreading = Spreading()
    spreading.look()
    assert spreading.end_surplus(on(A, 4, State.HALTED)) == []
    calls.nodes = [A]
    spreading.look()
    assert spreading.end_surplus(on(A, 4)) == []


def test_nodes_are_settled_when_they_are_the_same_twice(calls: FakeCalls) -> None:
    spreading = Spreading()
    assert not spreading.look()
    assert spreading.look()
    calls.nodes = [A, B, C]
    assert not spreading.look()
    assert spreading.look()


def test_only_some_for_each_node_start_at_once(calls: FakeCalls) -> None:
    spreading = Spreading()
    spreading.look()
    most = STARTING_ON_A_NODE * len(calls.nodes)
    assert spreading.may_start(on(A, most - 1, State.STARTING))
    assert not spreading.may_start(on(A, most, State.STARTING))
    assert spreading.may_start(on(A, 10 * most))
