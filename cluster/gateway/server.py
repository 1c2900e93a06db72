"""The gRPC server: threads, a port, limits, health and reflection. docs/decisions/0007 says why threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import structlog
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
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cluster.config import GatewayConfig
from cluster.errors import Misconfigured
from cluster.gateway import feast
from cluster.gateway.admin import AdminService
from cluster.gateway.backend import Backend
from cluster.gateway.backfills import BackfillService
from cluster.gateway.edge import Edge
from cluster.gateway.features import FeatureService
from cluster.gateway.ingest import IngestService
from cluster.gateway.patience import Patience
from cluster.gateway.registry import RegistryService

log = structlog.get_logger()
SERVICES = (
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    features_pb2.DESCRIPTOR.services_by_name["FeatureService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    backfill_pb2.DESCRIPTOR.services_by_name["BackfillService"].full_name,
    registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].full_name,
    feast.SERVICE,
)
# gRPC cuts off bursts above 1000 calls that no thread has taken yet; ours are refused by number, with a clear code.
PENDING = 10_000


class GatewayServer:
    """Bound from construction, serving from `start` to `stop`. `port` is the one that was bound."""

    def __init__(self, config: GatewayConfig, backend: Backend) -> None:
        self._patience = Patience(config.default_timeout_s)
        self._server = _server(config)
        self._health = health.HealthServicer()
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(IngestService(backend, self._patience), self._server)
        features_pb2_grpc.add_FeatureServiceServicer_to_server(FeatureService(config, backend, self._patience), self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(backend), self._server)
        backfill_pb2_grpc.add_BackfillServiceServicer_to_server(BackfillService(backend.backfills), self._server)
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(RegistryService(backend), self._server)
        feast.add_to(self._server, config, backend)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = _bind(self._server, config)

    def start(self) -> None:
        """Take calls, and say so to whoever asks for health."""
        self._patience.start()
        self._server.start()
        for service in (health.OVERALL_HEALTH, *SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace: float) -> None:
        """Report NOT_SERVING, take no new calls, and return when the running ones ended, after `grace` seconds at most."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        self._patience.stop()


def _server(config: GatewayConfig) -> grpc.Server:
    return grpc.server(
        ThreadPoolExecutor(config.max_concurrent_calls, thread_name_prefix="gateway"),
        interceptors=[Edge()],
        options=(
            ("grpc.so_reuseport", 0),  # so that a taken port is noticed
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.server.max_pending_requests", PENDING),
            ("grpc.server.max_pending_requests_hard_limit", PENDING),
            # Finds clients whose machine is gone, and lets clients look for ours as often.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # A client that waits for a long answer pings all the while; by default that ends its call after some.
            ("grpc.http2.max_ping_strikes", 0),
        ),
        maximum_concurrent_rpcs=config.max_concurrent_calls,
    )


def _bind(server: grpc.Server, config: GatewayConfig) -> int:
    """Bind the configured port, or a free one when it is taken, and return it."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        return server.add_insecure_port(f"{host}:{config.port}")
    except RuntimeError:
        log.warning("port_taken", host=config.host, port=config.port, next_step="a free port is used instead")
    try:
        return server.add_insecure_port(f"{host}:0")
    except RuntimeError:
        raise Misconfigured(f"gateway.host {config.host} is not an address of this machine: set one that is") from None
