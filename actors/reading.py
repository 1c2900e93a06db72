"""A gateway that reads features and does nothing else, on a node that asks for one: its models need not leave the node.

It has no spool and no part in uploads, so it may come and go with its node (docs/decisions/0019).
"""

from __future__ import annotations

import threading

import structlog

from actors import handles
from actors.ending import FINISH_SECONDS, on_sigterm
from actors.metrics import RayMetrics
from actors.reads import FeatureReads
from cluster import placement
from cluster.app import App
from cluster.errors import RaytideError, RetryLater
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import reading_services
from cluster.gateway.transport import on_node
from cluster.priority import come_first
from cluster.telemetry import set_up_logs

RETRY_SECONDS = 5.0


class ReadingGateway:
    """Serves as soon as it can: a file that it needs may come to its node later than the node to the cluster."""

    def __init__(self, app: App, name: str, here: str, whole: str) -> None:
        """Serve at the node's address `here`, and name the address `whole` to those who ask for more than reads."""
        come_first()
        set_up_logs(app.config.telemetry, actor=name)
        self._name, self._log = name, structlog.get_logger()
        self._config, metrics = on_node(app.config.gateway, here), RayMetrics()
        self._reads = FeatureReads(app, metrics)
        self._services = reading_services(self._reads, whole, metrics)
        self._server: GatewayServer | None = None
        self._note, self._stop = "it starts", threading.Event()
        threading.Thread(target=self._serve, name="serve", daemon=True).start()
        on_sigterm(lambda: self.close(FINISH_SECONDS))

    def __repr__(self) -> str:
        return self._name

    def address(self) -> str:
        """Return host:port; raise RetryLater, saying why, while it cannot serve."""
        if self._server is None:
            raise RetryLater(self._note)
        return f"{self._config.host}:{self._server.port}"

    def registry_version(self) -> int:
        """Return the version of the definitions that this gateway reads by."""
        return self._reads.catalog().version

    def switch(self) -> None:
        """Read by the definitions in force from the next call on."""
        self._reads.definitions.look()

    def close(self, seconds: float) -> None:
        """Take no new calls, give running ones `seconds`, and let go of everything."""
        self._stop.set()
        if self._server is not None:
            self._server.stop(seconds)
        self._reads.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                server = GatewayServer(self._config, self._services)
            except RaytideError as error:
                self._note = str(error)
                self._log.warning("cannot_serve", note=self._note)
                self._stop.wait(RETRY_SECONDS)
                continue
            server.start()
            self._server = server
            self._log.info("gateway_up", address=self.address())
            return


class ReadingGateways:
    """Keeps one on each node that asks for it. Caller: the supervisor's thread, at every look."""

    def __init__(self, app: App) -> None:
        self._app = app

    def look(self) -> None:
        """Start those that are missing, and end those whose node is gone."""
        nodes, names, here = handles.nodes(), handles.names(), handles.node_id()
        living = {handles.short(node.node_id) for node in nodes}
        for name in names:
            if name.startswith(handles.GATEWAY) and handles.node_of(name) not in living:
                handles.kill(name)
        # The node's address, as `gateway.host` may be loopback, which means another gateway on each node.
        whole = next((f"{node.address}:{self._app.config.gateway.port}" for node in nodes if node.node_id == here), "")
        for node in placement.reading(nodes, here):
            name = handles.gateway_name(handles.short(node.node_id), 1)
            if name not in names:
                there = {placement.NODE_ID: node.node_id}
                told = (self._app, name, node.address, whole)
                handles.ensure(ReadingGateway, name, *told, max_concurrency=8, label_selector=there)
