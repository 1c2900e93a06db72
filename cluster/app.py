"""What every process of the app is told when it starts. One value, so that an actor that is built anew gets the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.config import Config
from cluster.registry import loader
from cluster.registry.catalog import Catalog


@dataclass(frozen=True, slots=True)
class App:
    """Configuration, definitions and resolved addresses. Pickles; holds no client."""

    config: Config
    definitions: bytes  # of `loader.to_bytes`
    version: int
    bootstrap: str
    redis_url: str = field(repr=False)  # may hold a password
    folder: str  # the working folder of `raytide up`; relative paths in the configuration start there
    dashboard: str = ""

    def catalog(self) -> Catalog:
        """Return the definitions under their registered version."""
        return loader.from_bytes(self.definitions).registered_as(self.version)
