"""What `raytide up` looks at before it starts anything, so that a slip in the configuration is said within seconds."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.config import GatewayConfig, OnlineStoreConfig
from cluster.errors import Misconfigured, RetryLater, Unreachable
from cluster.gateway.tokens import read_tokens
from cluster.gateway.transport import check_reach, credentials
from cluster.stores.redis_connections import RedisConnections


def check_writable(database: Path) -> None:
    """Raise Misconfigured unless the DuckDB file, or a new one in its folder, can be written; make the folder."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(database, str(error.strerror)) from error
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK):
        raise _refusal(database, f"no right to write {target}")


def check_redis(url: str, config: OnlineStoreConfig) -> None:
    """Raise Unreachable when the server does not answer a ping, Misconfigured for a wrong password."""
    connections = RedisConnections(url, config)
    try:
        connections.exchange(lambda: [[b"*1\r\n$4\r\nPING\r\n"]])
    except Unreachable:
        raise
    except RetryLater:
        return  # it is there, and busy with something that passes
    finally:
        connections.close()


def check_gateway(config: GatewayConfig) -> None:
    """Raise Misconfigured for an address, certificate or tokens file with which the gateway would not start."""
    check_reach(config)
    credentials(config)
    if config.tokens:
        read_tokens(Path(config.tokens))


def _refusal(database: Path, cause: str) -> Misconfigured:
    return Misconfigured(f"offline_store.path {database} cannot be written ({cause}): name a file in a writable folder")
