# ruff: noqa: N802 - methods are named by the protocol
"""RegistryService: what is defined, and where features and values come from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from featurestore.v1 import registry_pb2, registry_pb2_grpc

from cluster.clock import now_us
from cluster.errors import Refused
from cluster.gateway.backend import Backend
from cluster.gateway.convert_registry import definition_to_proto, feature_to_proto, kind_from_proto, value_to_proto
from cluster.gateway.failures import AtFault, argument
from cluster.lineage.features import feature_lineage, feature_meant, stored_versions
from cluster.lineage.values import Asked, value_lineage
from cluster.registry.metadata import Filter, described, listed


class RegistryService(registry_pb2_grpc.RegistryServiceServicer):
    """Thin: asks the definitions in force and the history, and puts the answer into messages."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def ListDefinitions(
        self, request: registry_pb2.ListDefinitionsRequest, _context: grpc.ServicerContext
    ) -> registry_pb2.ListDefinitionsResponse:
        """Answer with the definitions that a filter selects."""
        catalog = self._backend.catalog()
        with _naming_the_filter():
            found = listed(catalog, Filter(kind_from_proto(request.kind), request.tag, request.owner))
        return registry_pb2.ListDefinitionsResponse(
            definitions=[definition_to_proto(definition) for definition in found], registry_version=catalog.version
        )

    def DescribeDefinition(
        self, request: registry_pb2.DescribeDefinitionRequest, _context: grpc.ServicerContext
    ) -> registry_pb2.DescribeDefinitionResponse:
        """Answer with one definition."""
        catalog = self._backend.catalog()
        with argument("name"):
            found = described(catalog, kind_from_proto(request.kind), request.name)
        return registry_pb2.DescribeDefinitionResponse(definition=definition_to_proto(found), registry_version=catalog.version)

    def GetFeatureLineage(
        self, request: registry_pb2.GetFeatureLineageRequest, _context: grpc.ServicerContext
    ) -> registry_pb2.GetFeatureLineageResponse:
        """Answer with a feature's graph and versions."""
        with argument("feature"):
            return feature_to_proto(
                feature_lineage(self._backend.catalog(), request.feature, stored_versions(self._backend.offline))
            )

    def GetValueLineage(
        self, request: registry_pb2.GetValueLineageRequest, _context: grpc.ServicerContext
    ) -> registry_pb2.GetValueLineageResponse:
        """Answer with where a value came from."""
        catalog = self._backend.catalog()
        with argument("feature"):
            feature_meant(catalog, request.feature)
        asked = Asked(request.entity_id, request.feature, request.at_us if request.HasField("at_us") else None)
        with argument("entity_id"):
            return value_to_proto(value_lineage(self._backend.offline, catalog, asked, now_us()))


@contextlib.contextmanager
def _naming_the_filter() -> Iterator[None]:
    """Let a refusal whose sentence starts with a filter name it."""
    try:
        yield
    except Refused as error:
        name, _, sentence = str(error).partition(": ")
        if name in registry_pb2.ListDefinitionsRequest.DESCRIPTOR.fields_by_name and not isinstance(error, AtFault):
            raise AtFault(name, type(error)(sentence)) from None
        raise
