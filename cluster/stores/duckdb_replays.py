"""Rejects that pass after all: their rows, their mark and their place in the ledger are one transaction (decision 0011)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from cluster.errors import NotFound
from cluster.records import Batch, Origin
from cluster.stores.duckdb_rows import LedgerRow, insert_ledger
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_statements import Cursor, incoming, insert, run, transaction
from cluster.stores.replay_rules import check_replay, limited_to

MARK = """
    UPDATE quarantine SET replayed_at = make_timestamp(?::BIGINT)
    WHERE source_id = ? AND replayed_at IS NULL AND position IN (SELECT position FROM incoming)
    RETURNING position"""
#: (source_id, first position, next position)
Span = tuple[int, int, int]


class ReplayTable:
    """Rows of `replays`. Any thread; one transaction at a time."""

    def __init__(self, cursor: Cursor, sources: SourceIds, now_us: Callable[[], int]) -> None:
        self._cursor, self._sources, self._now_us = cursor, sources, now_us
        self._lock = threading.Lock()

    def commit(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """See OfflineStore.commit_replay."""
        check_replay(of, batch)
        with self._lock:
            known = run(self._cursor, "SELECT events FROM replays WHERE replay_id = ?", [replay_id])
            return int(known[0][0]) if known else self._write(replay_id, of, batch)

    def unpublished(self) -> list[str]:
        """Return the replays whose values may not be online yet, oldest first."""
        with self._lock:
            found = run(self._cursor, "SELECT replay_id FROM replays WHERE state = 'COMMITTED' ORDER BY committed_at")
        return [replay_id for (replay_id,) in found]

    def span(self, replay_id: str) -> Span:
        """Return where the rows of a replay are; raise NotFound."""
        with self._lock:
            query = "SELECT source_id, first_position, next_position FROM replays WHERE replay_id = ?"
            found = run(self._cursor, query, [replay_id])
        if not found:
            raise NotFound(f"no replay is called '{replay_id}'")
        source_id, first, following = found[0]
        return source_id, first, following

    def finish(self, replay_id: str) -> None:
        """Note that a replay's values are online."""
        with self._lock:
            run(self._cursor, "UPDATE replays SET state = 'DONE' WHERE replay_id = ?", [replay_id])

    def _write(self, replay_id: str, of: Origin, batch: Batch) -> int:
        source_id = self._sources.find(of)
        if source_id is None:
            raise NotFound(f"{of} has no rejects: nothing can be replayed")
        now_us = self._now_us()
        with transaction(self._cursor):
            with incoming(self._cursor, batch.rows):
                marked = sorted({position for (position,) in run(self._cursor, MARK, [now_us, source_id])})
            if not marked:
                return 0
            rows = limited_to(batch.rows, marked)
            ids = self._sources.assign(self._cursor, [batch.origin], now_us)
            own = ids[batch.origin]
            insert(self._cursor, "features", rows.append_column("source_id", pa.array(np.full(len(rows), own, np.int32))))
            entry = LedgerRow(own, marked[0], marked[-1] + 1, len(marked), len(rows), rejected=0, epoch=0)
            insert_ledger(self._cursor, [entry], now_us)
            values = [replay_id, own, entry.first_position, entry.next_position, entry.events, now_us]
            run(self._cursor, "INSERT INTO replays VALUES (?, ?, ?, ?, ?, 'COMMITTED', make_timestamp(?::BIGINT))", values)
        self._sources.confirm(ids)
        return len(marked)
