"""Which services a gateway has: all of them on the node of `raytide up`, those that read features on others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from featurestore.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    backfill_pb2,
    backfill_pb2_grpc,
    features_pb2,
    features_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
)

from cluster.config import GatewayConfig
from cluster.errors import Refused
from cluster.gateway import feast
from cluster.gateway.admin import AdminService
from cluster.gateway.backend import Backend, ReadingBackend
from cluster.gateway.backfills import BackfillService
from cluster.gateway.features import FeatureService
from cluster.gateway.ingest import IngestService
from cluster.gateway.online import OnlineReads
from cluster.gateway.patience import Patience
from cluster.gateway.registry import RegistryService
from cluster.monitoring.metrics import NO_METRICS, Metrics

#: Puts services on a server, and returns their names.
Services = Callable[[GatewayConfig, grpc.Server, Patience], Sequence[str]]

READING = (features_pb2.DESCRIPTOR.services_by_name["FeatureService"].full_name, feast.SERVICE)
OTHERS = (
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    backfill_pb2.DESCRIPTOR.services_by_name["BackfillService"].full_name,
    registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].full_name,
)
SERVICES = (*READING, *OTHERS)


def every_service(backend: Backend, metrics: Metrics = NO_METRICS) -> Services:
    """Return all that Raytide offers."""

    def add(config: GatewayConfig, server: grpc.Server, patience: Patience) -> Sequence[str]:
        _add_reads(config, server, patience, backend, metrics)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestService(backend, patience), server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(backend), server)
        backfill_pb2_grpc.add_BackfillServiceServicer_to_server(BackfillService(backend.backfills), server)
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(RegistryService(backend), server)
        return SERVICES

    return add


def reading_services(backend: ReadingBackend, instead: str, metrics: Metrics = NO_METRICS) -> Services:
    """Return reads of features; other calls are refused, and told of the one on `instead`."""

    def add(config: GatewayConfig, server: grpc.Server, patience: Patience) -> Sequence[str]:
        _add_reads(config, server, patience, backend, metrics)
        server.add_generic_rpc_handlers((_Elsewhere(instead),))
        return READING

    return add


def _add_reads(
    config: GatewayConfig, server: grpc.Server, patience: Patience, backend: ReadingBackend, metrics: Metrics
) -> None:
    online = OnlineReads(config, backend, metrics)
    features_pb2_grpc.add_FeatureServiceServicer_to_server(FeatureService(config, backend, patience, online), server)
    feast.add_to(server, online)


class _Elsewhere(grpc.GenericRpcHandler):
    """Answers the methods of the services that are not here, where gRPC would only say that there is no such method."""

    def __init__(self, instead: str) -> None:
        self._instead = instead

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return a handler that refuses, for a method of ours."""
        service = handler_call_details.method.removeprefix("/").rpartition("/")[0]
        return grpc.stream_stream_rpc_method_handler(self._refuse) if service in OTHERS else None

    def _refuse(self, _requests: Iterator[Any], _context: grpc.ServicerContext) -> Iterator[Any]:
        raise Refused(f"the gateway of this node only reads features: call the one of `raytide up`, on {self._instead}")
