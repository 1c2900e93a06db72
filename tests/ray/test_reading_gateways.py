"""Gateways for reads come and go with the nodes that ask for them; Ray's calls are doubled, the rest is real."""

from __future__ import annotations

import pytest

from actors import handles
from actors.reading import ReadingGateways
from cluster.app import App
from cluster.config import Config
from cluster.placement import GATEWAY, NODE_ID, Node

HEAD, PLAIN, READS = (Node(name * 56, f"192.0.2.{number}") for number, name in enumerate("abc"))
LABELLED = Node(READS.node_id, READS.address, {GATEWAY: "yes"})
WHOLE, READER = handles.gateway_name("a" * 8, 1), handles.gateway_name("c" * 8, 1)


@pytest.fixture
def gateways(monkeypatch: pytest.MonkeyPatch) -> ReadingGateways:
    monkeypatch.setattr(handles, "node_id", lambda: HEAD.node_id)
    return ReadingGateways(App(Config(project="p"), b"", 1, "", "", ""))


def look(gateways: ReadingGateways, nodes: list[Node], names: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was started and ended at a look."""
    said: list[str] = []

    def ensure(_: object, name: str, *args: object, label_selector: dict[str, str], **_others: object) -> None:
        said.append(f"{name} at {args[-2]} on {label_selector[NODE_ID][:1]}, the whole one on {args[-1]}")

    monkeypatch.setattr(handles, "nodes", lambda: nodes)
    monkeypatch.setattr(handles, "names", lambda: names)
    monkeypatch.setattr(handles, "ensure", ensure)
    monkeypatch.setattr(handles, "kill", lambda name: said.append(f"ended {name}"))
    gateways.look()
    return said


def test_one_is_started_where_the_label_is(gateways: ReadingGateways, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [HEAD, PLAIN, LABELLED]
    assert look(gateways, there, [WHOLE, "writer"], monkeypatch) == [
        f"{READER} at 192.0.2.2 on c, the whole one on 192.0.2.0:50051"
    ]
    assert look(gateways, there, [WHOLE, READER, "writer"], monkeypatch) == []


def test_one_whose_node_is_gone_is_ended_and_the_whole_one_is_left_alone(
    gateways: ReadingGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(gateways, [HEAD, PLAIN], [WHOLE, READER, "writer"], monkeypatch) == [f"ended {READER}"]
