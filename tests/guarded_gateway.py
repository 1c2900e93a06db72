"""A gateway with little behind it, for tests of who may call it and how often."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from cluster.config import GatewayConfig
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, Long, StreamSource
from cluster.status import StatusReport
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import Upload
from raytide.client import RaytideClient

READER, WRITER, ADMIN = ("reader-" + "r" * 32, "writer-" + "w" * 32, "admin-" + "a" * 32)
VIEW = FeatureView(
    "profile", Entity("user", "user_id"), StreamSource("features", "t", Long()), [Field("age"), Field("score")], online=True
)


class Behind:
    """Answers status, when its gate is open, online reads and SQL, and has no uploads; counts what came through."""

    def __init__(self) -> None:
        self.online = MemoryOnlineStore()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.table = pa.table({"n": [1]})

    @property
    def offline(self) -> Behind:
        return self

    @property
    def uploads(self) -> Behind:
        return self

    def listed(self, _limit: int) -> list[Upload]:
        return []

    def catalog(self) -> Catalog:
        return build("shop", [VIEW]).registered_as(1)

    def status(self) -> StatusReport:
        self.entered.release()
        assert self.gate.wait(60)
        return StatusReport(project="shop", registry_version=1, taken_at=1)

    def sql(self, _statement: str) -> pa.Table:
        return self.table

    def __getattr__(self, name: str) -> Any:
        return None


@contextmanager
def serving(config: GatewayConfig, behind: Behind | None = None) -> Iterator[str]:
    """Give the address of a gateway that serves by `config`."""
    behind = behind or Behind()
    server = GatewayServer(config, every_service(cast("Backend", behind)))
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        behind.gate.set()
        server.stop(0)


def tokens_file(folder: Path, *lines: str) -> str:
    """Write a tokens file as it should be, and return its path."""
    file = folder / "tokens"
    file.touch(mode=0o600)
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def one_of_each(folder: Path) -> str:
    """Write a file with a token for each role."""
    return tokens_file(folder, f"scoring reader {READER}", f"loader writer {WRITER}", f"operator admin {ADMIN}")


def age_of(client: RaytideClient) -> list[str]:
    """Read a feature online, and return its statuses."""
    return client.get_online_features(["profile"], ["1"]).statuses[0]
