"""Private services for tests: each starts on free ports in a folder of its own, and is stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.stack import manager


@contextmanager
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the bootstrap servers of a new one-node Kafka (about four seconds)."""
    folder = tmp_path_factory.mktemp("kafka")
    try:
        yield str(manager.up(folder, kafka_port=0, services={manager.KAFKA}).bootstrap_servers)
    finally:
        manager.down(folder)


@contextmanager
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a new, empty Valkey (about a tenth of a second)."""
    folder = tmp_path_factory.mktemp("valkey")
    try:
        yield str(manager.up(folder, redis_port=0, services={manager.VALKEY}).redis_url)
    finally:
        manager.down(folder)
