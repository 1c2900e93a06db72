"""What is made from what: nodes, and an edge from each to those that take it. There are no cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter

Edge = tuple[str, str]  # ids of what is taken and of what takes it


class NodeKind(StrEnum):
    """What a node stands for, in the order in which data passes."""

    TOPIC = "topic"
    SOURCE = "source"
    COLUMN = "column"
    FUNCTION = "function"
    FEATURE = "feature"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Node:
    """One thing of a project. `digest` differs between versions where what decides about values differs."""

    kind: NodeKind
    name: str
    detail: str = ""
    digest: str = ""

    @property
    def id(self) -> str:
        """Return what edges name it by."""
        return f"{self.kind}:{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes, each after those that it takes, and edges in a fixed order."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, parts: Iterable[tuple[Node, Iterable[str]]]) -> Graph:
        """Return the graph of nodes that come with the ids of what they take; what comes twice is there once."""
        nodes: dict[str, Node] = {}
        takes: dict[str, list[str]] = {}
        for node, taken in parts:
            nodes[node.id] = node
            takes[node.id] = list(dict.fromkeys(taken))
        edges = tuple((source, taker) for taker, sources in takes.items() for source in sources)
        return cls(tuple(nodes[key] for key in TopologicalSorter(takes).static_order()), edges)

    def node(self, kind: NodeKind, name: str) -> Node:
        """Return a node that is known to be there."""
        return next(node for node in self.nodes if (node.kind, node.name) == (kind, name))

    def inputs(self, node: Node) -> list[Node]:
        """Return what a node takes itself."""
        return self._named(source for source, taker in self.edges if taker == node.id)

    def takers(self, node: Node) -> list[Node]:
        """Return the nodes that take it themselves."""
        return self._named(taker for source, taker in self.edges if source == node.id)

    def upstream(self, node: Node) -> Graph:
        """Return a node and all that it is made from."""
        return self._only(_reached(node, ((taker, source) for source, taker in self.edges)))

    def around(self, node: Node) -> Graph:
        """Return a node, all that it is made from, and all that is made from it."""
        return self._only({n.id for n in self.upstream(node).nodes} | _reached(node, self.edges))

    def _only(self, ids: Collection[str]) -> Graph:
        edges = ((source, taker) for source, taker in self.edges if source in ids and taker in ids)
        return Graph(tuple(node for node in self.nodes if node.id in ids), tuple(edges))

    def _named(self, ids: Iterable[str]) -> list[Node]:
        by_id = {node.id: node for node in self.nodes}
        return [by_id[key] for key in ids]


def _reached(node: Node, steps: Iterable[Edge]) -> set[str]:
    """Return the ids that steps lead to from a node, its own among them."""
    ends: dict[str, list[str]] = {}
    for start, end in steps:
        ends.setdefault(start, []).append(end)
    seen, waiting = {node.id}, [node.id]
    while waiting:
        new = set(ends.get(waiting.pop(), ())) - seen
        seen |= new
        waiting += new
    return seen
