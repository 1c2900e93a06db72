from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.services import kafka_server, valkey_server

# Hundreds of processes are started, and brokers that live for a minute: compiling the same code again and again, or twice for
# speed that nobody needs, would be most of what the stack tests do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a Kafka that all tests share: use topics with names of your own."""
    with kafka_server(tmp_path_factory) as bootstrap_servers:
        yield bootstrap_servers


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey that all tests share: flush it, or use keys of your own."""
    with valkey_server(tmp_path_factory) as url:
        yield url
