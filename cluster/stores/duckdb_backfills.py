"""Backfills: how far each is, and its chunks, each of which is one transaction (decision 0015)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.errors import NotFound
from cluster.faults import BackfillPoint, reach
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState, Changes, PartKey, is_behind, may_start
from cluster.records import Batch
from cluster.stores.duckdb_rows import LedgerRow, insert_ledger
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_statements import Cursor, run, transaction
from cluster.stores.duckdb_superseding import By, changes, old_positions, stored_key, supersede

_BACKFILLS = """
    SELECT backfill_id, "view", source, features, registry_version, epoch_us(since), epoch_us("until"), state, holder, note,
        epoch_us(created_at), epoch_us(updated_at)
    FROM backfills WHERE {where} ORDER BY created_at, backfill_id"""
_PARTS = """
    SELECT coalesce(topic, ''), coalesce("partition", 0), first_position, end_position, next_position, published_position,
        incarnation, topic_id, events, "rows", superseded, rejected, "open", coalesce(upload_id, '')
    FROM backfill_partitions WHERE backfill_id = ? ORDER BY upload_id NULLS FIRST, topic, "partition\""""
_ADD = """
    INSERT INTO backfills VALUES (?, ?, ?, ?, ?, make_timestamp(?::BIGINT), make_timestamp(?::BIGINT), ?, ?, '',
        make_timestamp(?::BIGINT), make_timestamp(?::BIGINT))"""
_ADD_PART = "INSERT INTO backfill_partitions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, ?)"
_OF_PART = """backfill_id = ? AND topic IS NOT DISTINCT FROM ? AND "partition" IS NOT DISTINCT FROM ?
        AND upload_id IS NOT DISTINCT FROM ?"""
_SET_STATE = """
    UPDATE backfills SET state = ?, holder = ?, note = ?, updated_at = make_timestamp(?::BIGINT) WHERE backfill_id = ?"""
_SET_PART = f"""
    UPDATE backfill_partitions SET next_position = ?, events = ?, "rows" = ?, superseded = ?, rejected = ?, "open" = ?
    WHERE {_OF_PART}"""  # noqa: S608 - made of this module's constants
_SET_PUBLISHED = f"""
    UPDATE backfill_partitions SET published_position = greatest(published_position, ?) WHERE {_OF_PART}"""  # noqa: S608 - as above
_UNPUBLISHED = """backfill_id IN (SELECT backfill_id FROM backfill_partitions WHERE published_position < next_position)"""


class BackfillTable:
    """Rows of `backfills` and `backfill_partitions`. Any thread; one transaction at a time.

    `moving` is held while rows of history are taken from where they are: DuckDB lets only one transaction delete a row.
    """

    def __init__(self, cursor: Cursor, sources: SourceIds, now_us: Callable[[], int], moving: threading.Lock) -> None:
        self._cursor, self._sources, self._now_us, self._moving = cursor, sources, now_us, moving
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the cursor, once it is idle: a chunk may be on its way."""
        with self._lock:
            self._cursor.close()

    def open(self, asked: Backfill) -> Backfill:
        """See BackfillStore.open_backfill."""
        with self._lock:
            known = may_start(asked, self._read("state <> 'DONE'"))
            with transaction(self._cursor):
                if known is None:
                    self._add(asked)
                else:
                    self._set_state(replace(known, state=BackfillState.RUNNING, holder=asked.holder, note=""))
            return self._get((known or asked).backfill_id)

    def commit(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore.commit_backfill."""
        with self._lock:
            known = self._get(backfill_id)
            if not is_behind(known, batch):
                self._write(known, batch)
            return self._get(backfill_id)

    def old_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore.backfill_positions."""
        with self._lock:
            known = self._get(backfill_id)
            return old_positions(self._cursor, known, known.part(key), first, following)

    def changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore.backfill_changes."""
        with self._lock:
            known = self._get(backfill_id)
            part = known.part(key)
            # No source, no rows: then every answer is empty, whatever its number.
            return changes(self._cursor, known, part, self._sources.find(known.origin(part)) or 0)

    def published(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore.publish_backfill."""
        with self._lock:
            run(self._cursor, _SET_PUBLISHED, [up_to, backfill_id, *stored_key(key)])
            return self._get(backfill_id)

    def end(self, backfill_id: str, state: BackfillState, note: str) -> Backfill:
        """See BackfillStore.end_backfill."""
        with self._lock:
            known = self._get(backfill_id)
            if known.state is BackfillState.RUNNING:
                self._set_state(replace(known, state=state, note=note))
            return self._get(backfill_id)

    def get(self, backfill_id: str) -> Backfill:
        """Return a backfill; raise NotFound."""
        with self._lock:
            return self._get(backfill_id)

    def newest(self, limit: int) -> list[Backfill]:
        """Return backfills, newest first."""
        with self._lock:
            return self._read("true")[::-1][:limit]

    def unpublished(self) -> list[Backfill]:
        """Return those of which something is in history and not online."""
        with self._lock:
            return self._read(_UNPUBLISHED)

    def _write(self, known: Backfill, batch: Batch) -> None:
        part, now_us = known.part(PartKey.of(batch.origin)), self._now_us()
        with self._moving, transaction(self._cursor):
            ids = self._sources.assign(self._cursor, [batch.origin], now_us)
            source_id = ids[batch.origin]
            stored = supersede(self._cursor, known, part, batch, By(source_id, now_us))
            reach(BackfillPoint.IN_TRANSACTION)
            if stored.rows or stored.superseded:
                entry = LedgerRow(source_id, batch.first, batch.next, stored.events, stored.rows, rejected=0, epoch=0)
                insert_ledger(self._cursor, [entry], now_us)
            self._set_part(known.backfill_id, stored.after(part, batch.next))
        reach(BackfillPoint.COMMITTED)
        self._sources.confirm(ids)

    def _add(self, asked: Backfill) -> None:
        now_us = self._now_us()
        values = [asked.backfill_id, asked.view, asked.source, list(asked.features), asked.registry_version]
        times = asked.since_us, asked.until_us, str(BackfillState.RUNNING), asked.holder, now_us, now_us
        run(self._cursor, _ADD, [*values, *times])
        for part in asked.parts:
            topic, partition, upload_id = stored_key(part.key)
            where = asked.backfill_id, topic, partition, part.incarnation, part.topic_id
            run(self._cursor, _ADD_PART, [*where, part.first, part.end, part.next, part.published, upload_id])

    def _set_state(self, known: Backfill) -> None:
        run(self._cursor, _SET_STATE, [str(known.state), known.holder, known.note, self._now_us(), known.backfill_id])

    def _set_part(self, backfill_id: str, part: BackfillPart) -> None:
        counts = part.events, part.rows, part.superseded, part.rejected, part.open
        run(self._cursor, _SET_PART, [part.next, *counts, backfill_id, *stored_key(part.key)])

    def _get(self, backfill_id: str) -> Backfill:
        found = self._read("backfill_id = ?", [backfill_id])
        if not found:
            raise NotFound(f"no backfill is called '{backfill_id}': see `raytide backfill list`")
        return found[0]

    def _read(self, where: str, values: Sequence[Any] = ()) -> list[Backfill]:
        return [self._whole(*row) for row in run(self._cursor, _BACKFILLS.format(where=where), values)]

    def _whole(self, backfill_id: str, view: str, source: str, features: list[str], *rest: Any) -> Backfill:
        version, since, until, state, *last = rest
        parts = tuple(BackfillPart(*row) for row in run(self._cursor, _PARTS, [backfill_id]))
        names = tuple(features)
        return Backfill(backfill_id, view, source, names, version, since, until, parts, BackfillState(state), *last)
