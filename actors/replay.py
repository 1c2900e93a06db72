"""Parts of a replay as Ray tasks: one task and one worker slot at a time for each replay."""

from __future__ import annotations

import time
import uuid

import ray

from actors.clients import SlotClient
from actors.handles import value
from cluster.config import IngestConfig
from cluster.dead_letters import Part, compute
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.pipeline import Outcome
from cluster.registry import loader
from cluster.registry.catalog import Catalog


@ray.remote(num_cpus=1, max_retries=3)
def _part(definitions: bytes, version: int, ingest: IngestConfig, part: Part) -> Outcome:
    catalog = loader.from_bytes(definitions).registered_as(version)
    return compute(catalog, ingest, part, time.time_ns() // 1000)


class RayPartRunner:
    """Meets PartRunner. `holder` names the gateway, so that its slots can be freed when it is built anew."""

    def __init__(self, ingest: IngestConfig, holder: str) -> None:
        self._ingest, self._holder = ingest, holder

    def run(self, job: str, catalog: Catalog, part: Part) -> Outcome:
        """Wait for a slot, then for the task; meanwhile keep the slot."""
        slot = SlotClient(Claim(f"{self._holder}:{job}:{uuid.uuid4().hex}", Kind.REPLAY, job))
        slot.hold()
        try:
            task = _part.options(name=f"replay:{job}")
            ref = task.remote(loader.to_bytes(catalog), catalog.version, self._ingest, part)
            while not ray.wait([ref], timeout=SlotClient.RENEW_SECONDS)[0]:
                slot.renew()
            outcome: Outcome = value(ref, "a replay task")
            return outcome
        finally:
            slot.release()
