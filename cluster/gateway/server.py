"""The gRPC server: threads, a port, limits, health and reflection. docs/decisions/0007 says why threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cluster.config import GatewayConfig
from cluster.gateway.admission import Admission
from cluster.gateway.denials import Denials
from cluster.gateway.edge import Edge, Rules
from cluster.gateway.guard import Guard
from cluster.gateway.patience import Patience
from cluster.gateway.services import Services
from cluster.gateway.transport import bind

# gRPC cuts off bursts above 1000 calls that no thread has taken yet; ours are refused by number, with a clear code.
PENDING = 10_000
#: Threads beyond those for calls that run, so that there is always one to refuse a call.
REFUSING = 8
KEEPALIVE_ANSWER_MS = 10_000


class GatewayServer:
    """Bound from construction, serving from `start` to `stop`. `port` is the one that was bound."""

    def __init__(self, config: GatewayConfig, services: Services) -> None:
        self._patience = Patience(config.default_timeout_s)
        rules = Rules(Guard(config), Admission(config), self._patience, Denials(config.denials_logged_per_minute))
        self._server = _server(config, Edge(rules))
        # Without threads of their own, those who watch could stop the server: gRPC's one thread would wait for the lock of a
        # call that waits for gRPC's thread.
        self._health = health.HealthServicer(experimental_non_blocking=False)
        self._services = services(config, self._server, self._patience)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        named = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(named, self._server)
        self.port = bind(self._server, config)

    def start(self) -> None:
        """Take calls, and say so to whoever asks for health."""
        self._patience.start()
        self._server.start()
        for service in (health.OVERALL_HEALTH, *self._services):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace: float) -> None:
        """Report NOT_SERVING, take no new calls, and return when the running ones ended, after `grace` seconds at most."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        self._patience.stop()


def _server(config: GatewayConfig, edge: Edge) -> grpc.Server:
    return grpc.server(
        ThreadPoolExecutor(config.max_concurrent_calls + REFUSING, thread_name_prefix="gateway"),
        interceptors=[edge],
        options=(
            ("grpc.so_reuseport", int(config.processes > 1)),  # one alone notices that its port is taken
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.server.max_pending_requests", PENDING),
            ("grpc.server.max_pending_requests_hard_limit", PENDING),
            ("grpc.server_handshake_timeout_ms", config.handshake_timeout_s * 1000),
            ("grpc.max_connection_idle_ms", config.idle_connection_s * 1000),
            # Finds clients whose machine is gone, and lets clients look for ours as often.
            ("grpc.keepalive_time_ms", config.keepalive_s * 1000),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_MS),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            # A client that waits for a long answer pings all the while; by default that ends its call after some.
            ("grpc.http2.max_ping_strikes", 0),
        ),
        maximum_concurrent_rpcs=PENDING,
    )
