"""Definitions and lineage to messages and back."""

from __future__ import annotations

import json
from typing import Any

from featurestore.v1 import features_pb2, registry_pb2

from cluster.errors import Refused
from cluster.gateway.convert import fields
from cluster.gateway.failures import AtFault
from cluster.lineage.features import Change, FeatureLineage, FeatureVersion
from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.lineage.values import ValueLineage
from cluster.records import Origin, SourceKind
from cluster.registry.metadata import Definition, DefinitionKind
from cluster.serving.online import Status

KINDS: dict[DefinitionKind, Any] = {
    kind: registry_pb2.DefinitionKind.Value(f"DEFINITION_KIND_{kind.name}") for kind in DefinitionKind
}
KIND_NAMES = {number: kind for kind, number in KINDS.items()}
STATUSES: dict[Status, Any] = {status: features_pb2.FeatureStatus.Value(f"FEATURE_STATUS_{status}") for status in Status}
STATUS_NAMES = {number: status for status, number in STATUSES.items()}


def kind_from_proto(number: int) -> DefinitionKind:
    """Return a kind of definition; raise AtFault for one that has no name."""
    if number not in KIND_NAMES:
        raise AtFault("kind", Refused(f"kind {number} is not known: choose {', '.join(DefinitionKind)}"))
    return KIND_NAMES[number]


def definition_to_proto(definition: Definition) -> registry_pb2.Definition:
    """Return the message for a definition."""
    return registry_pb2.Definition(
        kind=KINDS[definition.kind],
        name=definition.name,
        description=definition.description,
        owner=definition.owner,
        tags=definition.tags,
        facts_json=json.dumps(definition.facts),
    )


def definition_from_proto(message: registry_pb2.Definition) -> Definition:
    """Undo `definition_to_proto`."""
    said = message.name, message.description, message.owner, tuple(message.tags)
    return Definition(KIND_NAMES[message.kind], *said, json.loads(message.facts_json))


def graph_to_proto(graph: Graph) -> registry_pb2.LineageGraph:
    """Return the message for a graph."""
    index = {node.id: number for number, node in enumerate(graph.nodes)}
    return registry_pb2.LineageGraph(
        nodes=[registry_pb2.LineageNode(kind=n.kind, name=n.name, detail=n.detail, digest=n.digest) for n in graph.nodes],
        edges=[registry_pb2.LineageEdge(taken=index[taken], taker=index[taker]) for taken, taker in graph.edges],
    )


def graph_from_proto(message: registry_pb2.LineageGraph) -> Graph:
    """Undo `graph_to_proto`."""
    nodes = tuple(Node(**{**fields(node), "kind": NodeKind(node.kind)}) for node in message.nodes)
    return Graph(nodes, tuple((nodes[edge.taken].id, nodes[edge.taker].id) for edge in message.edges))


def feature_to_proto(lineage: FeatureLineage) -> registry_pb2.GetFeatureLineageResponse:
    """Return the message for a feature's lineage."""
    return registry_pb2.GetFeatureLineageResponse(
        feature=lineage.feature,
        view=lineage.view,
        registry_version=lineage.registry_version,
        graph=graph_to_proto(lineage.graph),
        versions=[_version_to_proto(version) for version in lineage.versions],
    )


def feature_from_proto(message: registry_pb2.GetFeatureLineageResponse) -> FeatureLineage:
    """Undo `feature_to_proto`."""
    versions = tuple(_version_from_proto(version) for version in message.versions)
    return FeatureLineage(**{**fields(message), "graph": graph_from_proto(message.graph), "versions": versions})


def value_to_proto(lineage: ValueLineage) -> registry_pb2.GetValueLineageResponse:
    """Return the message for where a value came from."""
    origin = lineage.origin
    return registry_pb2.GetValueLineageResponse(
        entity_id=lineage.entity_id,
        feature=lineage.feature,
        view=lineage.view,
        value=lineage.value,
        status=STATUSES[lineage.status],
        event_timestamp_us=lineage.event_timestamp,
        created_at_us=lineage.created_at,
        committed_at_us=lineage.committed_at,
        kind=origin.kind,
        topic=origin.topic,
        partition=origin.partition,
        incarnation=origin.incarnation,
        upload_id=origin.upload_id,
        upload_name=lineage.upload_name,
        position=lineage.position,
        registry_version=origin.registry_version,
        applied_at_us=lineage.applied_at,
        applied_by=lineage.applied_by,
        graph=graph_to_proto(lineage.graph),
    )


def value_from_proto(message: registry_pb2.GetValueLineageResponse) -> ValueLineage:
    """Undo `value_to_proto`."""
    found = fields(message)
    place = {name: found[name] for name in ("registry_version", "topic", "partition", "upload_id", "incarnation")}
    return ValueLineage(
        entity_id=message.entity_id,
        feature=message.feature,
        view=message.view,
        value=found["value"],
        status=STATUS_NAMES[message.status],
        event_timestamp=message.event_timestamp_us,
        created_at=message.created_at_us,
        committed_at=found["committed_at_us"],
        origin=Origin(SourceKind(message.kind), **place),
        position=message.position,
        upload_name=message.upload_name,
        applied_at=found["applied_at_us"],
        applied_by=message.applied_by,
        graph=graph_from_proto(message.graph),
    )


def _version_to_proto(version: FeatureVersion) -> registry_pb2.FeatureVersion:
    return registry_pb2.FeatureVersion(
        version=version.version,
        applied_at_us=version.applied_at,
        applied_by=version.applied_by,
        comment=version.comment,
        change=version.change,
        what=version.what,
    )


def _version_from_proto(message: registry_pb2.FeatureVersion) -> FeatureVersion:
    found = {name.removesuffix("_us"): value for name, value in fields(message).items()}
    return FeatureVersion(**{**found, "change": Change(message.change), "what": tuple(message.what)})
