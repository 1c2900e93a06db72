"""Recomputing a view's features for a range of event time: what is asked for, and how far it is. Pure.

The range is `[since, until)` over event time. Which of a partition's records may lie in it cannot be told from their
offsets, as events come out of order: so all that Kafka still has of what the ledger covers are read. The same goes for the
rows of a file, as long as it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.errors import Refused, RetryLater
from cluster.ingest.ledger import check_batch
from cluster.records import Batch, Origin, SourceKind


class BackfillState(StrEnum):
    """What a backfill is doing. One that STOPPED, for whatever reason, goes on when it is asked for again."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    DONE = "DONE"


class PartKey(NamedTuple):
    """What a share of a backfill reads: a partition of a topic, or the file of an upload."""

    topic: str = ""
    partition: int = 0
    upload_id: str = ""

    @classmethod
    def of(cls, origin: Origin) -> PartKey:
        """Return where an origin's records are."""
        return cls(origin.topic or "", origin.partition or 0, origin.upload_id or "")

    def __str__(self) -> str:
        return f"upload {self.upload_id}" if self.upload_id else f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class BackfillPart:
    """One share: positions `[first, end)`, of which those below `next` are in history, below `published` online.

    Positions are offsets of a partition, or rows of a file; a file has no topic, and `upload_id` instead. Of its records in
    the range `events` were computed anew into `rows`, replacing `superseded` rows; `rejected` no longer pass, so that what
    they had was superseded without a successor; `open` are dead letters that wait for a replay.
    """

    topic: str
    partition: int
    first: int
    end: int
    next: int
    published: int
    incarnation: int = 0
    topic_id: str | None = None
    events: int = 0
    rows: int = 0
    superseded: int = 0
    rejected: int = 0
    open: int = 0
    upload_id: str = ""

    @property
    def key(self) -> PartKey:
        """Return what it reads."""
        return PartKey(self.topic, self.partition, self.upload_id)

    def came_in(self, registry_version: int) -> Origin:
        """Return the origin under which the records came in."""
        if self.upload_id:
            return Origin.upload(self.upload_id, registry_version)
        return replace(Origin.stream(self.topic, self.partition, registry_version), incarnation=self.incarnation)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A view's features, recomputed under one registry version for events of `[since_us, until_us)`.

    `holder` is the gateway that runs it, or ran it last. Times are µs.
    """

    backfill_id: str
    view: str
    source: str
    features: tuple[str, ...]
    registry_version: int
    since_us: int
    until_us: int
    parts: tuple[BackfillPart, ...]
    state: BackfillState = BackfillState.RUNNING
    holder: str = ""
    note: str = ""
    created_at: int = 0
    updated_at: int = 0

    @property
    def offsets(self) -> int:
        """Return how many positions there are to read."""
        return sum(part.end - part.first for part in self.parts)

    @property
    def read(self) -> int:
        """Return how many of them are done."""
        return sum(part.next - part.first for part in self.parts)

    @property
    def is_whole(self) -> bool:
        """Return whether everything is in history and online."""
        return all(part.published >= part.end for part in self.parts)

    def part(self, key: PartKey) -> BackfillPart:
        """Return one share; raise Refused."""
        found = [part for part in self.parts if part.key == key]
        if not found:
            raise Refused(f"backfill {self.backfill_id} has no part {key}; this is a fault of its sender")
        return found[0]

    def with_part(self, changed: BackfillPart) -> Backfill:
        """Return this with another state of the same share."""
        return replace(self, parts=tuple(changed if part.key == changed.key else part for part in self.parts))

    def origin(self, part: BackfillPart) -> Origin:
        """Return where the rows of a share come from."""
        return part.came_in(self.registry_version).recomputed_by(self.backfill_id, self.registry_version)

    def asks_the_same(self, other: Backfill) -> bool:
        """Answer whether one is the other, perhaps at another time."""
        mine, theirs = ((b.view, b.registry_version, b.since_us, b.until_us) for b in (self, other))
        return mine == theirs


@dataclass(frozen=True, slots=True)
class Changes:
    """What a stretch of a backfill means for the online store, both in ROWS_SCHEMA.

    `gone` are values that history no longer has as they were and that nothing as new replaces; `newest` is written after them.
    """

    gone: pa.Table
    newest: pa.Table


def is_behind(backfill: Backfill, batch: Batch) -> bool:
    """Return whether a chunk is in history already; raise Refused or RetryLater for one that may not be stored."""
    check_batch(batch)
    origin = batch.origin
    part = backfill.part(PartKey.of(origin))
    if origin.kind is not SourceKind.BACKFILL or origin != backfill.origin(part):
        raise Refused(f"backfill {backfill.backfill_id} cannot have the origin {origin}; this is a fault of its sender")
    if batch.next <= part.next:
        return True
    if backfill.state is not BackfillState.RUNNING:
        raise Refused(f"backfill {backfill.backfill_id} is {backfill.state}: the same command lets it go on")
    if batch.next > part.end:
        raise Refused(f"{part.key}: [{batch.first}, {batch.next}) goes beyond {part.end}; this is a fault of its sender")
    if batch.first != part.next:  # a task that was given up for dead, and this one
        raise RetryLater(f"{part.key}: [{batch.first}, {batch.next}) does not follow on {part.next}: somebody else is at it")
    return False


def decided(batch: Batch) -> NDArray[np.int64]:
    """Return the positions that a chunk decides about, each once: those that have rows now, and those that are rejected."""
    columns = [table["position"].to_numpy() for table in (batch.rows, batch.rejects)]
    return np.unique(np.concatenate(columns)).astype(np.int64)


def may_start(asked: Backfill, known: Sequence[Backfill]) -> Backfill | None:
    """Return the unfinished backfill that `asked` continues, if there is one; raise Refused while it runs."""
    same = [b for b in known if b.asks_the_same(asked) and b.state is not BackfillState.DONE]
    if same and same[-1].state is BackfillState.RUNNING:
        raise Refused(
            f"backfill {same[-1].backfill_id} does just that and runs: see `raytide backfill list`, or stop it with "
            f"`raytide backfill cancel {same[-1].backfill_id}`",
        )
    return same[-1] if same else None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a chunk did: of `records` that it decided about, `events` have new `rows`; `superseded` rows went.

    `open` dead letters were let be.
    """

    records: int
    events: int
    rows: int
    superseded: int
    open: int

    def after(self, part: BackfillPart, following: int) -> BackfillPart:
        """Return a share that this was added to, and that is at `following` now."""
        return replace(
            part,
            next=following,
            events=part.events + self.events,
            rows=part.rows + self.rows,
            superseded=part.superseded + self.superseded,
            rejected=part.rejected + self.records - self.events,
            open=part.open + self.open,
        )
