from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services import kafka_server, valkey_server


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
