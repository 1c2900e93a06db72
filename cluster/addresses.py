"""Where everything is: what the configuration says, and what the local stack has where that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from cluster.config import STATE_FOLDER, Config, GatewayConfig
from cluster.stack import manager as stack
from cluster.stack.process import free_port, is_free

Say = Callable[[str], None]


def settled(gateway: GatewayConfig, serving: str, last: str, say: Say) -> GatewayConfig:
    """Return the section with a port that is free; settled here, so that a restart of the gateway keeps it.

    One that is `serving` at an address keeps its port, and one that ended gets that of its `last` address again: clients
    know it. Both are empty when there is none.
    """
    if serving:
        return gateway.model_copy(update={"port": _port_of(serving)})
    wanted = [_port_of(last)] if last else []
    wanted += [gateway.port] if gateway.port else []
    port = next((port for port in wanted if is_free(port)), None) or free_port()
    if wanted and port != wanted[-1]:
        say(f"port {wanted[-1]} is taken: the gateway uses {port}")
    return gateway.model_copy(update={"port": port})


def addresses(config: Config, folder: Path) -> tuple[str, str]:
    """Return the brokers and the Redis URL: configured, or the local stack's."""
    bootstrap = config.kafka.bootstrap_servers
    secret = config.online_store.connection_string
    redis_url = secret.get_secret_value() if secret else None
    local = stack.status(folder / STATE_FOLDER)
    return str(bootstrap or local.bootstrap_servers), str(redis_url or local.redis_url)


def hosts(bootstrap: str, redis_url: str) -> list[str]:
    """Return the hosts of brokers and Redis."""
    return [server.rpartition(":")[0] for server in bootstrap.split(",")] + [urlsplit(redis_url).hostname or ""]


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])
