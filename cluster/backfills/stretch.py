"""What a task does for a backfill: a while of one partition, or a piece of a file. Wherever it ends, the next one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cluster.backfills.compute import Decoded, Recompute
from cluster.backfills.share import Ports, Share
from cluster.config import IngestConfig
from cluster.errors import Lost, RetryLater
from cluster.ingest.backfills import Backfill, PartKey
from cluster.ingest.decode import compile_decoder
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.files.piece import Piece
from cluster.ingest.resets import made_again
from cluster.registry.catalog import Catalog
from cluster.stores.ports import BackfillStore, OnlineStore, RecordSource, Upload

STRETCH_SECONDS = 3.0
POLL_SECONDS = 0.5


class StretchRunner(Protocol):
    """Runs what is in this module somewhere. Caller: a thread of the gateway for each share."""

    def run(self, catalog: Catalog, backfill: Backfill, key: PartKey) -> None:
        """Return after a while, or at the partition's end; raise what `run_stretch` raised."""

    def run_piece(self, catalog: Catalog, backfill: Backfill, upload: Upload, piece: Piece) -> None:
        """Return when the piece's records are done; raise what `run_piece` raised."""


@dataclass(frozen=True, slots=True)
class Work:
    """A backfill, the stores that it is done with, and the definitions that it is done under."""

    ports: Ports
    catalog: Catalog
    ingest: IngestConfig
    backfill: Backfill
    clock_us: Callable[[], int]

    def share(self, key: PartKey) -> Share:
        """Return a share of it."""
        return Share(self.ports, self.backfill, key)

    def recompute(self) -> Recompute:
        """Return the path for its view."""
        return Recompute.compile(self.catalog, self.backfill, self.ingest)


def run_stretch(work: Work, key: PartKey, source: RecordSource) -> None:
    """Take a partition's share further, for some seconds at most.

    Raise RetryLater when a store or Kafka is away, Refused when the backfill was stopped, Lost when the topic is not what
    it was.
    """
    deadline, share, recompute = time.monotonic() + STRETCH_SECONDS, work.share(key), work.recompute()
    decode = compile_decoder(work.catalog.source(work.backfill.source), work.catalog, work.ingest)
    _seek(share, source)
    while share.part.next < share.part.end and time.monotonic() < deadline:
        try:
            records = source.poll(POLL_SECONDS)
        except Lost:
            return  # retention was faster: the next stretch begins at what exists, or says what else is wrong
        if records is None:
            source.check()
            source.end()  # raises when the brokers are away
            continue
        share.take(recompute, Decoded(*decode(records, work.clock_us())), records.next)


def run_piece(work: Work, upload: Upload, piece: Piece) -> None:
    """Take a file's share through a piece, in chunks of a stream's size; what is in history already is not done again.

    Raise RetryLater when a store is away, or the rows before the piece are not done; Refused when the backfill was stopped.
    """
    share, following = work.share(PartKey(upload_id=upload.upload_id)), piece.first_row + piece.rows
    if share.part.next < piece.first_row:  # the next attempt begins where this share is
        raise RetryLater(f"{share.part.key}: the rows from {share.part.next} up to {piece.first_row} are not done yet")
    if share.part.next >= min(following, share.part.end):
        return
    recompute = work.recompute()
    decode = compile_file_decoder(work.catalog.source(work.backfill.source), work.catalog, work.ingest, piece.format)
    found = decode(piece, upload.created_at, work.clock_us())
    decoded = Decoded(found.events, found.rejected)
    while share.part.next < min(following, share.part.end):
        share.take(recompute, decoded, min(following, share.part.next + work.ingest.batch_records))


def _seek(share: Share, source: RecordSource) -> None:
    """Begin where the share is, or at what Kafka still has; raise Lost when it is not what it was."""
    part, found = share.part, source.identity()
    if part.topic_id and found and found != part.topic_id:
        raise made_again(part.topic, part.partition, part.topic_id, found)
    if (end := source.end()) < part.end:
        # A broker that has just become the leader may not know yet how far its log is committed.
        raise RetryLater(f"{part.key}: Kafka ends at {end}, before {part.end}: if it stays so, it lost the end of its log")
    if (beginning := source.beginning()) > part.next:
        share.pass_over(beginning)
    source.seek(share.part.next)


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

    def run(self, catalog: Catalog, backfill: Backfill, key: PartKey) -> None:
        """Run it here."""
        source = self._open_source(key.topic, key.partition)
        try:
            run_stretch(self._work(catalog, backfill), key, source)
        finally:
            source.close()

    def run_piece(self, catalog: Catalog, backfill: Backfill, upload: Upload, piece: Piece) -> None:
        """Run it here."""
        run_piece(self._work(catalog, backfill), upload, piece)

    def _work(self, catalog: Catalog, backfill: Backfill) -> Work:
        online = self._online if catalog.views[backfill.view].online else None
        return Work(Ports(self._history, online), catalog, self._ingest, backfill, self._clock_us)
