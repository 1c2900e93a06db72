"""A part of a replay through the path, wherever it runs: decode, validate and compute as the first time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cluster.config import IngestConfig
from cluster.ingest.pipeline import Outcome, SourcePlan
from cluster.records import Records
from cluster.registry.catalog import Catalog


class ChunkRunner(Protocol):
    """Runs `compute` somewhere. Caller: a thread of the gateway for each replay."""

    def run(self, job: str, catalog: Catalog, source: str, records: Records) -> Outcome:
        """Return what becomes of the records now; raise what `compute` raised. `job` is the replay that this is part of."""


class LocalChunkRunner:
    """Runs parts in the calling thread."""

    def __init__(self, ingest: IngestConfig, now_us: Callable[[], int]) -> None:
        self._ingest, self._now_us = ingest, now_us

    def run(self, job: str, catalog: Catalog, source: str, records: Records) -> Outcome:  # noqa: ARG002 - the port's
        """Run it here."""
        return compute(catalog, self._ingest, source, records, self._now_us())


def compute(catalog: Catalog, ingest: IngestConfig, source: str, records: Records, now_us: int) -> Outcome:
    """Return rows of the records that pass under `catalog`, and rejects of the others.

    JSON Lines go the same way as messages: their decoder is the same one. Raise Misconfigured for definitions that do
    not compile; never for data.
    """
    return SourcePlan.compile(catalog, source, ingest).run(records, now_us)
