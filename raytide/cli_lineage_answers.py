"""Lineage as a tree for people and as plain values for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text
from rich.tree import Tree

from cluster.lineage.features import Change, FeatureLineage, FeatureVersion
from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.lineage.values import ValueLineage
from cluster.records import SourceKind
from raytide.cli_output import time_text

Step = Callable[[Node], list[Node]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What can be printed."""

    graph: Graph
    tree: Tree
    plain: dict[str, Any]


def of_feature(found: FeatureLineage) -> Answer:
    """Return the answer for a feature."""
    tree = Tree(_label(found.node))
    _add(tree, "made from", found.node, found.graph.inputs)
    _add(tree, "taken by", found.node, found.graph.takers)
    if found.versions:
        _grow_versions(tree.add("versions"), found.versions)
    versions = [{**asdict(version), "applied_at": time_text(version.applied_at)} for version in found.versions]
    return Answer(found.graph, tree, {**asdict(found), "graph": _plain(found.graph), "versions": versions})


def of_value(found: ValueLineage) -> Answer:
    """Return the answer for a value."""
    tree = Tree(Text(f"{found.view}:{found.feature} of {found.entity_id} = {_number(found.value)}, {found.status}"))
    for line in _facts(found):
        tree.add(Text(line))
    if found.graph.nodes:
        node = found.graph.nodes[-1]
        _add(tree, f"made from, in version {found.origin.registry_version}", node, found.graph.inputs)
    times = {name: time_text(getattr(found, name)) for name in ("event_timestamp", "created_at", "committed_at", "applied_at")}
    plain = {**asdict(found), **times, **asdict(found.origin), "graph": _plain(found.graph)}
    del plain["origin"]
    return Answer(found.graph, tree, plain)


def _facts(found: ValueLineage) -> Iterator[str]:
    yield f"record: {_record(found)}"
    yield f"event time: {time_text(found.event_timestamp)}"
    yield f"known since: {time_text(found.created_at)}"
    yield f"in history since: {time_text(found.committed_at) or 'not known'}"
    yield f"definitions: version {found.origin.registry_version}, applied {time_text(found.applied_at)} by {found.applied_by}"


def _record(found: ValueLineage) -> str:
    origin = found.origin
    if origin.topic is None:
        place = f"row {found.position} of {found.upload_name} (upload {origin.upload_id})"
    else:
        anew = f", after the topic was made anew ({origin.incarnation})" if origin.incarnation else ""
        place = f"offset {found.position} of {origin.topic}[{origin.partition}]{anew}"
    return place if origin.kind in {SourceKind.STREAM, SourceKind.UPLOAD} else f"{place}, through a {origin.kind}"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.15g}"


def _add(tree: Tree, title: str, node: Node, step: Step) -> None:
    if step(node):
        _grow(tree.add(Text(title)), node, step, set())


def _grow(branch: Tree, node: Node, step: Step, seen: set[str]) -> None:
    """Add what steps from a node lead to; what is below a node is shown where it is met first."""
    for found in step(node):
        again = found.id in seen and bool(step(found))
        twig = branch.add(_label(found).append(", as above" if again else ""))
        if found.id not in seen:
            seen.add(found.id)
            _grow(twig, found, step, seen)


def _label(node: Node) -> Text:
    return Text(f"{node.kind} ").append(node.name, "bold").append(f" ({node.detail})" if node.detail else "")


def _grow_versions(branch: Tree, versions: tuple[FeatureVersion, ...]) -> None:
    branch.add(f"exists in {', '.join(str(v.version) for v in versions if v.change is not Change.REMOVED)}")
    for version in versions:
        if version.change is not Change.SAME:
            what = f": {', '.join(version.what)}" if version.what else ""
            line = f"{version.version} {version.change} it, {time_text(version.applied_at)} by {version.applied_by}{what}"
            branch.add(Text(line))


def _plain(graph: Graph) -> dict[str, Any]:
    """Return a graph whose nodes come after what they are made from, and the functions in the order of their calls."""
    nodes = [{"id": node.id, **asdict(node)} for node in graph.nodes]
    functions = [node.name for node in graph.nodes if node.kind is NodeKind.FUNCTION]
    return {"nodes": nodes, "edges": [list(edge) for edge in graph.edges], "functions": functions}
