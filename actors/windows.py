"""Keeps the cells of windows online, in a thread of the supervisor: the only one of its kind (cluster/windows/publishing)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from actors.clients import WriterClient
from cluster.clock import now_us
from cluster.errors import RaytideError
from cluster.monitoring.metrics import WINDOWS_SECONDS, Metrics
from cluster.registry.catalog import Catalog
from cluster.windows.panes import Pane, panes_of
from cluster.windows.ports import WindowStore
from cluster.windows.publishing import Publisher

LOOK_SECONDS = 0.25


class WindowKeeper:
    """Looks from construction until `stopped` is set. `catalog` gives the definitions in force, None while nobody knows."""

    def __init__(
        self, store: WindowStore, catalog: Callable[[], Catalog | None], stopped: threading.Event, metrics: Metrics
    ) -> None:
        self._catalog, self._stopped, self._metrics = catalog, stopped, metrics
        self._known: tuple[Catalog | None, list[Pane]] = (None, [])
        self._publisher = Publisher(WriterClient(), store, self._panes, now_us)
        self._trouble = ""
        threading.Thread(target=self._run, name="windows", daemon=True).start()

    @property
    def note(self) -> str:
        """Return why windows cannot be read, or lag behind; empty when all is well."""
        report = self._publisher.report
        if self._trouble:
            return f"windows are not kept up to date: {self._trouble}"
        if report.pages_total:
            return f"windows are computed from history: page {report.pages_done + 1:,} of {report.pages_total:,}"
        if report.to_go:
            return f"windows are behind: {report.to_go:,} commits to go"
        return ""

    def _run(self) -> None:
        log = structlog.get_logger()
        since = now_us()
        while not self._stopped.is_set():
            try:
                self._publisher.look()
                self._trouble = ""
                if self._publisher.report.to_go:
                    continue
                since = now_us()
            except RaytideError as error:
                self._trouble = str(error)
            except Exception as error:  # whatever it was, the next look may work, and there is nobody else
                log.exception("windows_failed")
                self._trouble = f"{type(error).__name__}: {error}"
            if self._known[1]:
                self._metrics.set(WINDOWS_SECONDS, (now_us() - since) / 1e6)
            self._stopped.wait(LOOK_SECONDS)

    def _panes(self) -> list[Pane] | None:
        catalog = self._catalog()
        if catalog is None:
            return None
        if catalog is not self._known[0]:
            self._known = (catalog, panes_of(catalog))
        return self._known[1]
