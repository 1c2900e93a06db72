"""The definitions in force, as one process sees them: those that it was started with until the writer names later ones."""

from __future__ import annotations

import threading

from actors.clients import WriterClient
from cluster.app import App
from cluster.registry import loader
from cluster.registry.catalog import Catalog


class InForce:
    """Any thread may call it. An actor that is built anew begins with the catalog that it was first started with."""

    def __init__(self, app: App) -> None:
        self._catalog = app.catalog()
        self._writer = WriterClient()
        self._looking = threading.Lock()  # else a slow answer could put an older version back

    def catalog(self) -> Catalog:
        """Return the definitions in force when last looked."""
        return self._catalog

    def look(self) -> Catalog:
        """Ask the writer for a later version, and return the one in force; raise RetryLater while the writer is away."""
        with self._looking:
            if found := self._writer.in_force(self._catalog.version):
                self._catalog = loader.from_bytes(found.definitions).registered_as(found.version)
            return self._catalog
