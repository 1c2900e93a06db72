"""`raytide apply` and `registry rollback`, whether the app runs or not.

Definitions are code. So they come through Ray, as a driver of the cluster, and never through the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from actors.registry import RunningRegistry
from cluster import lifecycle
from cluster.config import Config
from cluster.registry import loader
from cluster.registry.apply import Applied, Registry, put_in_force
from cluster.running import Running
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.ports import Definitions


class StoppedRegistry:
    """Meets Registry over the file of an app that does not run."""

    def __init__(self, store: DuckStore, config: Config) -> None:
        self._store = store
        self._reads = DuckReads(store.database, config.offline_store)

    def query(self, sql: str) -> pa.Table:
        """Read the file."""
        return self._reads.query(sql)

    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""
        return self._store.register(definitions)

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        return self._store.shipped(version)

    def behind(self, version: int) -> tuple[str, ...]:  # noqa: ARG002 - the port's
        """Return at once: nothing computes."""
        return ()


@contextmanager
def opened(config: Config, folder: Path) -> Iterator[Registry]:
    """Give the registry of the app of `folder`; raise Unreachable when it runs and does not answer."""
    running = Running.read(folder)
    if running is not None and running.is_alive:
        with lifecycle.connected(running.ray_address, running.head):
            yield RunningRegistry()
        return
    path = str(folder / config.offline_store.path)
    store = DuckStore(config.offline_store.model_copy(update={"path": path}))
    try:
        yield StoppedRegistry(store, config)
    finally:
        store.close()


def apply(config: Config, project_folder: Path, folder: Path, comment: str = "") -> tuple[Applied, tuple[str, ...]]:
    """Put the project's definitions in force, for the next start if no app runs, and say who does not compute with them yet.

    Raise Misconfigured for definitions that are wrong or cannot follow those in force.
    """
    catalog = loader.load(config.project, project_folder / config.definitions)
    with opened(config, folder) as registry:
        applied = put_in_force(registry, catalog, comment)
        return applied, registry.behind(applied.version)


def rollback(config: Config, folder: Path, version: int, comment: str = "") -> tuple[Applied, tuple[str, ...]]:
    """Put a former version in force again, as a new one; raise NotFound when there is none, else as `apply` does."""
    with opened(config, folder) as registry:
        catalog = loader.from_bytes(registry.shipped(version))
        applied = put_in_force(registry, catalog, comment or f"as version {version}")
        return applied, registry.behind(applied.version)
