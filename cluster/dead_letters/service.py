"""Dead letters of one gateway: looked at, and replayed; and what an earlier process left half done.

A replay's values go online after its commit, like a file's. Whether they did is in the `replays` table, and each gateway
looks there every few seconds, so that neither a crash nor a Redis that was away leaves a value behind.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow.compute as pc
import structlog
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from cluster.config import IngestConfig
from cluster.dead_letters.chunks import Group, chunks_of, groups_of
from cluster.dead_letters.compute import PartRunner
from cluster.dead_letters.letters import DeadLetter, in_full, listed
from cluster.dead_letters.selection import Place, Selection, condition_of
from cluster.errors import RaytideError, RetryLater
from cluster.ingest.pipeline import Outcome
from cluster.records import REJECTS_SCHEMA, Batch
from cluster.registry.catalog import Catalog
from cluster.stores.ports import OfflineStore, OnlineStore
from cluster.verify.report import Reads

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 60.0

NO_ROWS = "no view takes them: `where` is false"
ONLINE_LATER = "history has the values; the online store is away and gets them when it is back"


class History(OfflineStore, Reads, Protocol):
    """What the service needs of the writer."""


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is. Of `seen` out of `total` dead letters, `replayed` passed; in a dry run they would have.

    `rejected` counts those that failed again, by reason, `skipped` those that cannot be replayed, by why. Both stay open.
    `taken` were replayed by somebody else meanwhile.
    """

    total: int
    registry_version: int
    seen: int = 0
    replayed: int = 0
    taken: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def left_open(self) -> int:
        """Return how many failed again or cannot be replayed."""
        return sum(self.rejected.values()) + sum(self.skipped.values())


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service needs."""

    offline: History
    online: OnlineStore
    catalog: Callable[[], Catalog]
    runner: PartRunner
    ingest: IngestConfig


#: What to do with a part of a group; returns how many records were stored, and what has to be said of it.
Store = Callable[[Catalog, Group, Outcome], tuple[int, str]]


class DeadLetterService:
    """Caller: any number of threads. Between `start` and `close` it publishes what has to be."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="replays", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Look after unfinished replays from now on."""
        self._thread.start()

    def close(self) -> None:
        """End replays between two parts, and look no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def listed(self, selection: Selection, limit: int) -> tuple[list[DeadLetter], int]:
        """Return the newest dead letters of a selection, at most `limit`, and how many there are in all."""
        return listed(self._parts.offline, self._parts.catalog(), selection, limit)

    def in_full(self, place: Place) -> DeadLetter:
        """Return one dead letter with its payload; raise NotFound."""
        return in_full(self._parts.offline, self._parts.catalog(), place)

    def replay(self, selection: Selection) -> Iterator[ReplayProgress]:
        """Send the open dead letters of a selection through the definitions in force; yield how far that is.

        What passes is in history and marked, together or not at all; what does not stays open. Harmless to repeat and to
        do twice at once; closing the iterator ends it between two parts. Raise Refused or NotFound for the selection,
        RetryLater when the writer is away or the gateway stops.
        """
        return self._replay(selection, self._commit)

    def try_out(self, selection: Selection) -> Iterator[ReplayProgress]:
        """Yield what `replay` would do now, and store nothing."""
        return self._replay(selection, lambda _catalog, _group, outcome: (_with_rows(outcome), ""))

    def publish_unfinished(self) -> None:
        """Bring the values of committed replays online that nobody has finished."""
        for replay_id in self._parts.offline.unpublished_replays():
            self._publish(replay_id)

    def _replay(self, selection: Selection, store: Store) -> Iterator[ReplayProgress]:
        parts, catalog, job = self._parts, self._parts.catalog(), uuid.uuid4().hex
        where = condition_of(replace(selection, replayed=False), catalog)
        groups = groups_of(parts.offline, catalog, where)
        progress = ReplayProgress(sum(group.count for group in groups), catalog.version)
        yield progress
        for group in groups:
            if group.cannot:
                progress = _after(progress, group.count, skipped={group.cannot: group.count})
                yield progress
                continue
            for chunk in chunks_of(parts.offline, group, where, parts.ingest):
                self._check_stop()
                progress = _after(progress, chunk.count, skipped=chunk.skipped)
                if len(chunk.part.records):
                    outcome = parts.runner.run(job, catalog, chunk.part)
                    replayed, note = store(catalog, group, outcome) if outcome.rows.num_rows else (0, "")
                    progress = _with(progress, outcome, replayed, note)
                yield progress

    def _commit(self, catalog: Catalog, group: Group, outcome: Outcome) -> tuple[int, str]:
        """Store what passed and bring it online; return how many were stored, and what has to be said of it."""
        replay_id, positions = uuid.uuid4().hex, outcome.rows["position"].to_numpy()
        origin = group.origin.replayed_under(catalog.version)
        span = int(positions.min()), int(positions.max()) + 1
        batch = Batch(origin, 0, *span, _with_rows(outcome), outcome.rows, REJECTS_SCHEMA.empty_table())
        replayed = self._patiently()(self._parts.offline.commit_replay, replay_id, group.origin, batch)
        if not replayed:
            return 0, ""
        try:
            self._publish(replay_id)
        except RetryLater:
            return replayed, ONLINE_LATER
        return replayed, ""

    def _publish(self, replay_id: str) -> None:
        parts = self._parts
        names = parts.catalog().online_names()
        for table in parts.offline.replay_newest(replay_id, names) if names else ():
            parts.online.write(table)
        parts.offline.finish_replay(replay_id)

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                self.publish_unfinished()
            except RaytideError as error:
                self._log.warning("replays_not_published", error=str(error))
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("replays_not_published")
            self._stop.wait(LOOK_SECONDS)

    def _patiently(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(RetryLater),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_any(stop_after_delay(PATIENCE_SECONDS), stop_when_event_set(self._stop)),
            sleep=sleep_using_event(self._stop),
            reraise=True,
        )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RetryLater("the gateway is stopping: replay again when it is back, what passed is not done twice")


def _after(progress: ReplayProgress, count: int, skipped: Mapping[str, int]) -> ReplayProgress:
    return replace(progress, seen=progress.seen + count, skipped=Counter(progress.skipped) + Counter(skipped))


def _with_rows(outcome: Outcome) -> int:
    """Return how many records have rows: one that no view takes leaves nothing to store, and stays open."""
    return len(pc.unique(outcome.rows["position"]))


def _with(progress: ReplayProgress, outcome: Outcome, replayed: int, note: str) -> ReplayProgress:
    stored = _with_rows(outcome)
    return replace(
        progress,
        replayed=progress.replayed + replayed,
        taken=progress.taken + stored - replayed,
        skipped=Counter(progress.skipped) + Counter({NO_ROWS: outcome.events - stored}),
        rejected=Counter(progress.rejected) + Counter(outcome.rejects["reason"].to_pylist()),
        note=note or progress.note,
    )
