"""Stretches of a backfill as Ray tasks: one task and one worker slot at a time for each partition.

A task reads, commits and publishes itself; nothing but its end comes back. One that dies is run again by Ray, and goes on
from what is in DuckDB.
"""

from __future__ import annotations

import uuid

import ray

from actors.backfill_client import BackfillClient
from actors.clients import SlotClient
from actors.handles import value
from actors.priority import give_way
from cluster.app import App
from cluster.backfills import Recompute
from cluster.backfills.stretch import Ports, run_stretch
from cluster.clock import now_us
from cluster.ingest.backfills import Backfill
from cluster.ingest.leases import Claim, Kind
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.stores.kafka import KafkaPartition
from cluster.stores.redis import RedisOnlineStore
from cluster.telemetry import set_up_logs


@ray.remote(num_cpus=1, max_retries=3)
def _stretch(app: App, definitions: bytes, backfill: Backfill, topic: str, partition: int) -> None:
    set_up_logs(app.config.telemetry)
    give_way()
    catalog = loader.from_bytes(definitions).registered_as(backfill.registry_version)
    history, config = BackfillClient(), app.config
    now = history.get_backfill(backfill.backfill_id)  # an earlier run of this task may have taken it further
    source = KafkaPartition(config.kafka, app.bootstrap, topic, partition, config.ingest)
    online = RedisOnlineStore(app.redis_url, config.online_store)
    try:
        kept = online if catalog.views[now.view].online else None
        ports = Ports(source, history, kept, now_us)
        run_stretch(ports, Recompute.compile(catalog, now, config.ingest), now, topic, partition)
    finally:
        source.close()
        online.close()


class RayStretchRunner:
    """Meets StretchRunner. `holder` names the gateway, so that its slots can be freed when it is built anew."""

    def __init__(self, app: App, holder: str) -> None:
        self._app, self._holder = ray.put(app), holder

    def run(self, catalog: Catalog, backfill: Backfill, topic: str, partition: int) -> None:
        """Wait for a slot, then for the task; meanwhile keep the slot."""
        job = backfill.backfill_id
        slot = SlotClient(Claim(f"{self._holder}:{job}:{uuid.uuid4().hex}", Kind.BACKFILL, job))
        slot.hold()
        try:
            task = _stretch.options(name=f"backfill:{job}:{topic}:{partition}")
            ref = task.remote(self._app, loader.to_bytes(catalog), backfill, topic, partition)
            while not ray.wait([ref], timeout=SlotClient.RENEW_SECONDS)[0]:
                slot.renew()
            value(ref, "a backfill task")
        finally:
            slot.release()
