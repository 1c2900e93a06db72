"""One feature: what it is made from, what is made from it, and which versions of the definitions changed that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cluster.errors import Refused
from cluster.lineage.definitions import feature_in, graph_of
from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.verify.report import Reads, rows

_VERSIONS = """
    SELECT version, epoch_us(applied_at) AS applied_at, applied_by, comment, definition
    FROM registry_versions ORDER BY version"""


class Change(StrEnum):
    """What a version of the definitions did to a feature."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FeatureVersion:
    """A registry version in which a feature exists, or the one that removed it. `applied_at` is µs.

    `what` says for a changed one what of the feature's upstream is other than in the version before.
    """

    version: int
    applied_at: int
    applied_by: str
    comment: str
    change: Change
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureLineage:
    """The lineage of one feature under the definitions of `registry_version`; 0 for those that no app has applied.

    `graph` holds everything upstream and downstream of it.
    """

    feature: str
    view: str
    registry_version: int
    graph: Graph
    versions: tuple[FeatureVersion, ...]

    @property
    def node(self) -> Node:
        """Return the feature's own node."""
        return self.graph.node(NodeKind.FEATURE, f"{self.view}:{self.feature}")


def feature_meant(catalog: Catalog, reference: str) -> FeatureSpec:
    """Return the feature meant by `view:feature` or `feature`; raise NotFound with near matches, Refused for several."""
    specs = catalog.resolve([reference])
    if reference in catalog.views or reference in catalog.services:
        kind = "view" if reference in catalog.views else "service"
        raise Refused(f"'{reference}' is a {kind}: name one feature, as `raytide {kind}s describe {reference}` lists them")
    return specs[0]


def feature_lineage(catalog: Catalog, reference: str, versions: Sequence[Mapping[str, Any]] = ()) -> FeatureLineage:
    """Return the lineage of a feature; `versions` are those that `stored_versions` returns."""
    spec = feature_meant(catalog, reference)
    whole = graph_of(catalog.describe())
    node = whole.node(NodeKind.FEATURE, f"{spec.view}:{spec.name}")
    changes = tuple(history(spec.name, versions))
    return FeatureLineage(spec.name, spec.view, catalog.version, whole.around(node), changes)


def stored_versions(reads: Reads) -> list[dict[str, Any]]:
    """Return the rows of `registry_versions`, oldest first, `definition` decoded."""
    return [{**row, "definition": json.loads(row["definition"])} for row in rows(reads, _VERSIONS)]


def history(feature: str, versions: Sequence[Mapping[str, Any]]) -> Iterator[FeatureVersion]:
    """Yield what each of `versions`, oldest first, did to a feature; nothing for those that do not know it."""
    before: Graph | None = None
    for row in versions:
        graph = graph_of(row["definition"])
        node = feature_in(graph, feature)
        now = None if node is None else graph.upstream(node)
        if now is not None or before is not None:
            change, what = _compared(before, now)
            yield FeatureVersion(row["version"], row["applied_at"], row["applied_by"], row["comment"], change, what)
        before = now


def alike(feature: str, versions: Sequence[Mapping[str, Any]], version: int) -> list[int]:
    """Return those of `versions` whose definitions compute a feature's values as `version` does; none if it does not know it.

    How a feature is read (ttl, online) does not count.
    """
    found = {row["version"]: _computed(row["definition"], feature) for row in versions}
    wanted = found.get(version)
    return [] if wanted is None else [number for number, computed in found.items() if computed == wanted]


def _computed(definition: Mapping[str, Any], feature: str) -> frozenset[tuple[str, str]] | None:
    views = {name: {**view, "ttl": None, "online": False} for name, view in definition["views"].items()}
    graph = graph_of({**definition, "views": views, "services": {}})
    node = feature_in(graph, feature)
    return None if node is None else frozenset((part.id, part.digest) for part in graph.upstream(node).nodes)


def _compared(before: Graph | None, now: Graph | None) -> tuple[Change, tuple[str, ...]]:
    if before is None:
        return Change.ADDED, ()
    if now is None:
        return Change.REMOVED, ()
    what = tuple(_differences(before, now))
    return (Change.CHANGED if what else Change.SAME), what


def _differences(before: Graph, now: Graph) -> Iterator[str]:
    """Yield what differs upstream, one phrase each, inputs first."""
    old, new = {node.id: node for node in before.nodes}, {node.id: node for node in now.nodes}
    yield from (f"{node} is gone" for key, node in old.items() if key not in new)
    for key, node in new.items():
        if key not in old:
            yield f"{node} is new"
        elif node.digest != old[key].digest:
            yield f"{node} changed"
