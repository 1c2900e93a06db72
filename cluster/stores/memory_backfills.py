"""Backfills in the offline store's twin: what each may replace, in lists and a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.errors import NotFound
from cluster.ingest.backfills import (
    Backfill,
    BackfillPart,
    BackfillState,
    Changes,
    PartKey,
    Stored,
    decided,
    is_behind,
    may_start,
)
from cluster.records import ROWS_SCHEMA, Batch, Origin
from cluster.stores.replay_rules import limited_to

Row = dict[str, Any]


class MemoryBackfills:
    """Caller: the twin, with its lock held. `came` are all other batches, `is_open` tells rejects that nobody replayed."""

    def __init__(
        self, came: Callable[[], list[Batch]], is_open: Callable[[Origin, int], bool], now_us: Callable[[], int]
    ) -> None:
        self._came, self._is_open, self._now_us = came, is_open, now_us
        self.known: dict[str, Backfill] = {}
        self.chunks: list[Batch] = []
        self.superseded: dict[tuple[Origin, int, str], Origin] = {}

    def rows(self) -> Iterator[tuple[Origin, Row]]:
        """Yield what reads see."""
        for origin, row in self._all_rows():
            if (origin, row["position"], row["feature_name"]) not in self.superseded:
                yield origin, row

    def open(self, asked: Backfill) -> Backfill:
        """See BackfillStore.open_backfill."""
        known = may_start(asked, list(self.known.values()))
        if known is None:
            now = self._now_us()
            return self._keep(replace(asked, created_at=now, updated_at=now))
        return self._keep(replace(known, state=BackfillState.RUNNING, holder=asked.holder, note="", updated_at=self._now_us()))

    def positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore.backfill_positions."""
        known = self.get(backfill_id)
        found = {
            row["position"]
            for origin, row in self._of(known, known.part(key))
            if first <= row["position"] < following and origin.registry_version < known.registry_version
            if known.since_us <= micros(row["event_timestamp"]) < known.until_us
        }
        return np.array(sorted(found), np.int64)

    def commit(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore.commit_backfill."""
        known = self.get(backfill_id)
        if is_behind(known, batch):
            return known
        part = known.part(PartKey.of(batch.origin))
        stored = self._supersede(known, part, batch)
        return self._keep(known.with_part(stored.after(part, batch.next)))

    def changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore.backfill_changes."""
        known = self.get(backfill_id)
        part = known.part(key)
        origin, span = known.origin(part), range(part.published, part.next)
        fresh = _newest(row for by, row in self.rows() if by == origin and row["position"] in span)
        old = _newest(row for by, row in self._replaced() if by == origin and row["position"] in span)
        gone = {pair: row for pair, row in old.items() if pair not in fresh or _when(fresh[pair]) < _when(row)}
        left = _newest(row for _, row in self.rows() if (row["entity_id"], row["feature_name"]) in gone)
        return Changes(_table(gone.values()), _table([*fresh.values(), *left.values()]))

    def published(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore.publish_backfill."""
        known = self.get(backfill_id)
        part = known.part(key)
        return self._keep(known.with_part(replace(part, published=max(part.published, up_to))))

    def end(self, backfill_id: str, state: BackfillState, note: str) -> Backfill:
        """See BackfillStore.end_backfill."""
        known = self.get(backfill_id)
        if known.state is not BackfillState.RUNNING:
            return known
        return self._keep(replace(known, state=state, note=note, updated_at=self._now_us()))

    def get(self, backfill_id: str) -> Backfill:
        """Return a backfill; raise NotFound."""
        if backfill_id not in self.known:
            raise NotFound(f"no backfill is called '{backfill_id}': see `raytide backfill list`")
        return self.known[backfill_id]

    def newest(self, limit: int) -> list[Backfill]:
        """Return backfills, newest first."""
        return sorted(self.known.values(), key=lambda b: (b.created_at, b.backfill_id), reverse=True)[:limit]

    def unpublished(self) -> list[Backfill]:
        """Return those of which something is in history and not online."""
        return [b for b in self.newest(len(self.known))[::-1] if any(part.published < part.next for part in b.parts)]

    def _supersede(self, known: Backfill, part: BackfillPart, batch: Batch) -> Stored:
        mine = list(self._of(known, part))
        current = {row["position"] for origin, row in mine if origin.registry_version >= known.registry_version}
        positions = decided(batch).tolist()
        waiting = [p for p in positions if self._is_open(part.came_in(known.registry_version), p)]
        taken = sorted(set(positions) - current - set(waiting))
        old = [(origin, row["position"], row["feature_name"]) for origin, row in mine if row["position"] in taken]
        self.superseded |= dict.fromkeys(old, batch.origin)
        rows = limited_to(batch.rows, taken)
        events = len(set(rows["position"].to_pylist()))
        if len(rows) or old:
            self.chunks.append(replace(batch, events=events, rows=rows, rejects=batch.rejects.slice(0, 0)))
        return Stored(len(taken), events, len(rows), len(old), len(waiting))

    def _of(self, known: Backfill, part: BackfillPart) -> Iterator[tuple[Origin, Row]]:
        """Yield the view's rows of a share's records, however they came in."""
        for origin, row in self.rows():
            is_here = (PartKey.of(origin), origin.incarnation) == (part.key, part.incarnation)
            if is_here and row["feature_name"] in known.features:
                yield origin, row

    def _all_rows(self) -> Iterator[tuple[Origin, Row]]:
        for batch in (*self._came(), *self.chunks):
            yield from ((batch.origin, row) for row in batch.rows.to_pylist())

    def _replaced(self) -> Iterator[tuple[Origin, Row]]:
        """Yield rows that reads see no more, and by what they were replaced."""
        for origin, row in self._all_rows():
            if by := self.superseded.get((origin, row["position"], row["feature_name"])):
                yield by, row

    def _keep(self, backfill: Backfill) -> Backfill:
        self.known[backfill.backfill_id] = backfill
        return backfill


def micros(time: Any) -> int:
    """Return a time of a row in µs."""
    return int(np.datetime64(time, "us").astype(np.int64))


def _when(row: Row) -> tuple[Any, Any]:
    return row["event_timestamp"], row["created_at"]


def _newest(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    ordered = sorted(rows, key=lambda row: (*_when(row), row["position"]))
    return {(row["entity_id"], row["feature_name"]): row for row in ordered}


def _table(rows: Iterable[Row]) -> pa.Table:
    found = sorted(rows, key=lambda row: (row["entity_id"], row["feature_name"], *_when(row)))
    return pa.Table.from_pylist(found, ROWS_SCHEMA) if found else ROWS_SCHEMA.empty_table()
