"""Brings every actor that computes or reads features to the definitions in force."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from actors import gateways, handles
from actors.definitions import InForce
from cluster.app import App
from cluster.errors import RetryLater
from cluster.ingest.stream import Progress, State
from cluster.registry.catalog import Catalog

ANSWER_SECONDS = 3.0
#: States in which a partition computes with the definitions that it names; all others take those in force when they start.
AT_WORK = {State.RUNNING, State.PAUSED}


class Switching:
    """Caller: the supervisor's thread. It remembers nothing that the actors do not say again."""

    def __init__(self, app: App) -> None:
        self._definitions = InForce(app)
        self._online: list[str] | None = None
        self.asked = False  # whether the writer has answered: before that, the definitions may be long replaced

    def catalog(self) -> Catalog:
        """Return the definitions in force when last looked."""
        return self._definitions.catalog()

    def online_names(self) -> list[str] | None:
        """Return the features that everybody who writes to the online store keeps there; None while nobody knows yet."""
        return self._online

    def look(self) -> None:
        """Learn which definitions are in force; while the writer is away, they stay what they were."""
        self.asked = handles.quietly(self._definitions.look, None) is not None or self.asked

    def tell(self, partitions: Mapping[tuple[str, int], Progress]) -> None:
        """Let those that are behind switch. They do it between two batches, so the next call may find them behind again."""
        behind = [*self._behind(partitions), *self._gateways_behind()]
        for name in behind:
            handles.quietly(partial(handles.Remote(name, ANSWER_SECONDS).start, "switch"), None)
        if self.asked and not behind:
            self._online = self.catalog().online_names()

    def _behind(self, partitions: Mapping[tuple[str, int], Progress]) -> list[str]:
        version = self.catalog().version
        # One that starts may have asked the writer just before the version came.
        at_work = {key: p for key, p in partitions.items() if p.state in {*AT_WORK, State.STARTING}}
        return [handles.partition_name(*key) for key, p in at_work.items() if p.registry_version < version]

    def _gateways_behind(self) -> list[str]:
        version = self.catalog().version
        names = [name for name in handles.names() if name.startswith(handles.GATEWAY)]
        said = gateways.ask(names, "registry_version", ANSWER_SECONDS)
        return [name for name, found in said.items() if isinstance(found, RetryLater) or found < version]
