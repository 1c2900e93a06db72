"""A while of one partition: read, compute, commit, publish, chunk by chunk. Wherever it ends, the next stretch goes on.

Each chunk is online before the next one is committed, so what is unpublished is never more than a chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cluster.backfills.compute import Recompute, before_offset
from cluster.backfills.publish import publish
from cluster.config import IngestConfig
from cluster.errors import Lost, RetryLater
from cluster.faults import BackfillPoint, reach
from cluster.ingest.backfills import Backfill, BackfillPart
from cluster.ingest.resets import made_again
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch, Records
from cluster.registry.catalog import Catalog
from cluster.stores.ports import BackfillStore, OnlineStore, RecordSource

STRETCH_SECONDS = 3.0
POLL_SECONDS = 0.5
REBUILD_SECONDS = 60.0


class StretchRunner(Protocol):
    """Runs `run_stretch` somewhere. Caller: a thread of the gateway for each partition."""

    def run(self, catalog: Catalog, backfill: Backfill, topic: str, partition: int) -> None:
        """Return after a while, or at the part's end; raise what `run_stretch` raised."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What a stretch needs. `online` is None when the view is not kept online."""

    source: RecordSource
    history: BackfillStore
    online: OnlineStore | None
    clock_us: Callable[[], int]


def run_stretch(ports: Ports, recompute: Recompute, backfill: Backfill, topic: str, partition: int) -> None:
    """Take a part further, for some seconds at most.

    Raise RetryLater when a store or Kafka is away, Refused when the backfill was stopped, Lost when the topic is not what
    it was.
    """
    where, deadline = (backfill.backfill_id, topic, partition), time.monotonic() + STRETCH_SECONDS
    publish(ports.history, ports.online, where, _pauses())
    part = _at_what_exists(ports, backfill, backfill.part(topic, partition))
    ports.source.seek(part.next)
    while part.next < part.end and time.monotonic() < deadline:
        try:
            records = ports.source.poll(POLL_SECONDS)
        except Lost:
            return  # retention was faster: the next stretch begins at what exists, or says what else is wrong
        if records is None:
            ports.source.check()
            ports.source.end()  # raises when the brokers are away
            continue
        batch = _compute(ports, recompute, backfill, part, before_offset(records, part.end))
        reach(BackfillPoint.COMPUTED)
        part = ports.history.commit_backfill(backfill.backfill_id, batch).part(topic, partition)
        publish(ports.history, ports.online, where, _pauses())
        reach(BackfillPoint.PUBLISHED)


def _at_what_exists(ports: Ports, backfill: Backfill, part: BackfillPart) -> BackfillPart:
    """Pass over what Kafka has removed since the plan was made; raise Lost when it is not what it was."""
    found = ports.source.identity()
    if part.topic_id and found and found != part.topic_id:
        raise made_again(part.topic, part.partition, part.topic_id, found)
    if (end := ports.source.end()) < part.end:
        # A broker that has just become the leader may not know yet how far its log is committed.
        raise RetryLater(f"{part.name}: Kafka ends at {end}, before {part.end}: if it stays so, it lost the end of its log")
    beginning = min(ports.source.beginning(), part.end)
    if beginning <= part.next:
        return part
    nothing = ROWS_SCHEMA.empty_table(), REJECTS_SCHEMA.empty_table()
    passed = Batch(backfill.origin(part), 0, part.next, beginning, 0, *nothing)
    return ports.history.commit_backfill(backfill.backfill_id, passed).part(*part.key)


def _compute(ports: Ports, recompute: Recompute, backfill: Backfill, part: BackfillPart, records: Records) -> Batch:
    before = ports.history.backfill_positions(backfill.backfill_id, *part.key, records.first, records.next)
    return recompute.run(records, before, backfill.origin(part), ports.clock_us())


def _pauses() -> Callable[[], None]:
    deadline = time.monotonic() + REBUILD_SECONDS

    def pause() -> None:
        if time.monotonic() > deadline:
            raise RetryLater("the online store is still being rebuilt; the backfill goes on after that")
        time.sleep(0.2)  # the rebuild is in another process

    return pause


class LocalStretchRunner:
    """Runs stretches in the calling thread. `open_source` returns a reader of a topic's partition."""

    def __init__(
        self,
        open_source: Callable[[str, int], RecordSource],
        stores: tuple[BackfillStore, OnlineStore],
        ingest: IngestConfig,
        clock_us: Callable[[], int],
    ) -> None:
        self._open_source, self._ingest, self._clock_us = open_source, ingest, clock_us
        self._history, self._online = stores

    def run(self, catalog: Catalog, backfill: Backfill, topic: str, partition: int) -> None:
        """Run it here."""
        source = self._open_source(topic, partition)
        online = self._online if catalog.views[backfill.view].online else None
        try:
            ports = Ports(source, self._history, online, self._clock_us)
            run_stretch(ports, Recompute.compile(catalog, backfill, self._ingest), backfill, topic, partition)
        finally:
            source.close()
