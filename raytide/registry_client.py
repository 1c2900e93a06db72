"""The client's half of the registry: what is defined, and where features and values come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from featurestore.v1 import registry_pb2, registry_pb2_grpc

from cluster.gateway.convert_registry import KINDS, definition_from_proto, feature_from_proto, value_from_proto
from cluster.lineage.features import FeatureLineage
from cluster.lineage.values import ValueLineage
from cluster.registry.metadata import Definition, DefinitionKind, Filter
from raytide.times import microseconds

#: Calls a method with a request, patiently, and raises our errors.
Read = Callable[[Callable[..., Any], Any], Any]


class RegistryClient:
    """What a `RaytideClient` has as `registry`."""

    def __init__(self, channel: grpc.Channel, read: Read) -> None:
        self._stub, self._read = registry_pb2_grpc.RegistryServiceStub(channel), read

    def list_definitions(self, wanted: Filter) -> list[Definition]:
        """Return definitions that are in force, by name; raise Refused for a kind that has no tags or owners."""
        request = registry_pb2.ListDefinitionsRequest(kind=KINDS[wanted.kind], tag=wanted.tag, owner=wanted.owner)
        return [definition_from_proto(found) for found in self._read(self._stub.ListDefinitions, request).definitions]

    def describe_definition(self, kind: DefinitionKind, name: str) -> Definition:
        """Return one definition that is in force; raise NotFound with near matches."""
        request = registry_pb2.DescribeDefinitionRequest(kind=KINDS[kind], name=name)
        return definition_from_proto(self._read(self._stub.DescribeDefinition, request).definition)

    def feature_lineage(self, feature: str) -> FeatureLineage:
        """Return what a feature (`view:feature` or `feature`) is made from, what takes it, and its versions."""
        request = registry_pb2.GetFeatureLineageRequest(feature=feature)
        return feature_from_proto(self._read(self._stub.GetFeatureLineage, request))

    def value_lineage(self, entity_id: str | int, feature: str, at: datetime | str | None = None) -> ValueLineage:
        """Return where the value came from that a read at `at` finds (RFC 3339 if text), or the newest.

        Raise NotFound for an unknown feature, and when history has no such value.
        """
        request = registry_pb2.GetValueLineageRequest(entity_id=str(entity_id), feature=feature, at_us=microseconds(at, "at"))
        return value_from_proto(self._read(self._stub.GetValueLineage, request))
