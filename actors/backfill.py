"""Stretches of a backfill as Ray tasks: one task and one worker slot at a time for each partition, and for each file.

A task reads, commits and publishes itself; nothing but its end comes back. One that dies is run again by Ray, and goes on
from what is in DuckDB.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from actors.backfill_client import BackfillClient
from actors.clients import SlotClient
from actors.handles import value
from cluster.app import App
from cluster.backfills.share import Ports
from cluster.backfills.stretch import Work, run_piece, run_stretch
from cluster.clock import now_us
from cluster.ingest.backfills import Backfill, PartKey
from cluster.ingest.files.piece import Piece
from cluster.ingest.leases import Claim, Kind
from cluster.priority import give_way
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.stores.kafka import KafkaPartition
from cluster.stores.ports import Upload
from cluster.stores.redis import RedisOnlineStore
from cluster.telemetry import set_up_logs


@ray.remote(num_cpus=1, max_retries=3)
def _stretch(app: App, definitions: bytes, backfill: Backfill, key: PartKey) -> None:
    with _work(app, definitions, backfill, topic=key.topic, partition=key.partition) as work:
        source = KafkaPartition(app.config.kafka, app.bootstrap, key.topic, key.partition, app.config.ingest)
        try:
            run_stretch(work, key, source)
        finally:
            source.close()


@ray.remote(num_cpus=1, max_retries=3)
def _piece(app: App, definitions: bytes, backfill: Backfill, upload: Upload, piece: Piece) -> None:
    with _work(app, definitions, backfill, upload_id=upload.upload_id, piece=piece.number) as work:
        run_piece(work, upload, piece)


@contextmanager
def _work(app: App, definitions: bytes, backfill: Backfill, **place: str | int) -> Iterator[Work]:
    set_up_logs(app.config.telemetry, backfill=backfill.backfill_id, **place)
    give_way()
    catalog = loader.from_bytes(definitions).registered_as(backfill.registry_version)
    online = RedisOnlineStore(app.redis_url, app.config.online_store)
    try:
        kept = online if catalog.views[backfill.view].online else None
        yield Work(Ports(BackfillClient(), kept), catalog, app.config.ingest, backfill, now_us)
    finally:
        online.close()


class RayStretchRunner:
    """Meets StretchRunner. `holder` names the gateway, so that its slots can be freed when it is built anew."""

    def __init__(self, app: App, holder: str) -> None:
        self._app, self._holder = ray.put(app), holder

    def run(self, catalog: Catalog, backfill: Backfill, key: PartKey) -> None:
        """Wait for a slot, then for the task; meanwhile keep the slot."""
        self._run(_stretch, catalog, backfill, f"{key.topic}:{key.partition}", key)

    def run_piece(self, catalog: Catalog, backfill: Backfill, upload: Upload, piece: Piece) -> None:
        """Do the same with a piece of a file, which goes to wherever the task runs."""
        self._run(_piece, catalog, backfill, f"{upload.upload_id}:{piece.number}", upload, piece)

    def _run(self, function: Any, catalog: Catalog, backfill: Backfill, name: str, *args: Any) -> None:
        job = backfill.backfill_id
        slot = SlotClient(Claim(f"{self._holder}:{job}:{uuid.uuid4().hex}", Kind.BACKFILL, job))
        slot.hold()
        try:
            task = function.options(name=f"backfill:{job}:{name}")
            ref = task.remote(self._app, loader.to_bytes(catalog), backfill, *args)
            while not ray.wait([ref], timeout=SlotClient.RENEW_SECONDS)[0]:
                slot.renew()
            value(ref, "a backfill task")
        finally:
            slot.release()
