"""Graphs as text that other tools draw: Mermaid for Markdown pages, DOT for Graphviz."""

from __future__ import annotations

import json
from enum import StrEnum

from cluster.lineage.graph import Graph, Node


class Drawing(StrEnum):
    """The languages that there are."""

    MERMAID = "mermaid"
    DOT = "dot"


def draw(graph: Graph, drawing: Drawing) -> str:
    """Return the graph in a language, data flowing from left to right."""
    return {Drawing.MERMAID: _mermaid, Drawing.DOT: _dot}[drawing](graph)


def _mermaid(graph: Graph) -> str:
    numbers = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    nodes = [f'  {numbers[node.id]}["{_escaped(node)}"]' for node in graph.nodes]
    return "\n".join(["flowchart LR", *nodes, *(f"  {numbers[a]} --> {numbers[b]}" for a, b in graph.edges)])


def _dot(graph: Graph) -> str:
    nodes = [f"  {_quoted(node.id)} [label={_quoted(str(node))}];" for node in graph.nodes]
    edges = [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in graph.edges]
    return "\n".join(["digraph lineage {", "  rankdir=LR; node [shape=box];", *nodes, *edges, "}"])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(node: Node) -> str:
    """Return a node's text without what Mermaid takes for its own; columns are named as the user likes."""
    return str(node).replace("#", "#35;").replace('"', "#quot;")
