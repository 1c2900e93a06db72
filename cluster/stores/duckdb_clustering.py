"""Older history in the order of (feature, entity, time), in which joins find it (decision 0018).

Rows are stored as they arrive, and every so many of them are rewritten in order, behind the streams: one transaction takes
them out and puts them in again, so that at no moment a row is missing or twice. DuckDB then skips what lies elsewhere, and
gives the space of the old copies to new rows after the next checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pyarrow as pa
import structlog

from cluster.config import OfflineStoreConfig
from cluster.errors import RaytideError, Refused
from cluster.faults import Point, reach
from cluster.priority import give_way
from cluster.stores.duckdb_errors import Health
from cluster.stores.duckdb_statements import Cursor, incoming, run, transaction

#: How often one looks whether enough rows wait.
LOOK_EVERY_S = 2.0
#: How long files that are being put together go first. They come one after the other in some places, and never end.
PATIENCE_S = 60.0

# An interrupt between two statements is lost, so it is repeated until the thread ends.
_INTERRUPT_EVERY_S = 0.05

# The oldest entries of the ledger that are not in order yet, up to $rows rows in all; a file with more is cut.
_WAITING = """
    WITH waiting AS (
        SELECT source_id, committed_at, greatest(first_position, coalesce(clustered.next_position, first_position)) AS since,
            batches.next_position AS until, greatest(1, "rows" * (until - since) // (until - first_position)) AS n
        FROM batches LEFT JOIN clustered USING (source_id)
        WHERE "rows" > 0 AND batches.next_position > coalesce(clustered.next_position, first_position)
    ), counted AS (
        SELECT *, sum(n) OVER (ORDER BY committed_at, source_id, since ROWS UNBOUNDED PRECEDING) - n AS before FROM waiting
    )
    SELECT source_id, min(since)::BIGINT AS since,
        max(least(until, since + greatest(1, (until - since) * ($rows - before) // n)))::BIGINT AS until
    FROM counted WHERE before < $rows AND (SELECT sum(n) FROM waiting) >= $rows
    GROUP BY source_id"""
_TAKEN = "features.source_id = incoming.source_id AND position >= since AND position < until"
_SORT = f"""
    CREATE OR REPLACE TEMP TABLE in_order AS SELECT features.* FROM features JOIN incoming ON {_TAKEN}
    ORDER BY feature_name, entity_id, event_timestamp, created_at"""  # noqa: S608 - made of this module's constants
_TAKE_OUT = f"DELETE FROM features USING incoming WHERE {_TAKEN}"  # noqa: S608 - as above
_PUT_IN = "INSERT INTO features BY NAME FROM in_order"
_FORGET = "DELETE FROM clustered WHERE source_id IN (SELECT source_id FROM incoming)"
_REMEMBER = "INSERT INTO clustered SELECT source_id, until FROM incoming"

log = structlog.get_logger(__name__)


class HistoryOrder:
    """Puts `rows` rows of history in order at a time. One thread; it owns the cursor.

    `moving` is held while it does: whoever else takes rows of history from where they are waits so long.
    """

    def __init__(self, cursor: Cursor, rows: int, moving: threading.Lock) -> None:
        self._cursor, self._rows, self._moving = cursor, rows, moving

    def advance(self) -> int:
        """Put the oldest rows in order that are not yet; return how many, 0 while fewer wait than it takes."""
        with self._moving:
            waiting = self._cursor.sql(_WAITING, params={"rows": self._rows}).to_arrow_table()
            return self._rewrite(waiting) if len(waiting) else 0

    def interrupt(self) -> None:
        """Let what runs end with an error and change nothing. Any thread."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Let go of the cursor."""
        self._cursor.close()

    def _rewrite(self, taken: pa.Table) -> int:
        # All statements see one moment: what a replay adds to the range meanwhile is neither taken out nor put in.
        with transaction(self._cursor), incoming(self._cursor, taken):
            run(self._cursor, _SORT)
            [(out,)] = run(self._cursor, _TAKE_OUT)
            [(back,)] = run(self._cursor, _PUT_IN)
            if out != back:
                raise Refused(f"{out} rows of history were taken out, {back} would come back: nothing was changed")
            run(self._cursor, _FORGET)
            run(self._cursor, _REMEMBER)
            run(self._cursor, "DROP TABLE in_order")
            reach(Point.CLUSTERING_IN_TRANSACTION)
        reach(Point.CLUSTERING_COMMITTED)
        return int(out)


class Clustering:
    """Keeps history in order, in a thread of its own, until it is closed; while it `is_to_wait` it does so for a minute."""

    def __init__(
        self, order: HistoryOrder, health: Health, config: OfflineStoreConfig, is_to_wait: Callable[[], bool] = lambda: False
    ) -> None:
        self._order, self._health, self._share = order, health, config.clustering_share
        self._is_to_wait, self._waits_since = is_to_wait, 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clustering", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what was half done is undone."""
        self._ended.set()
        while self._thread.is_alive():
            self._order.interrupt()
            self._thread.join(_INTERRUPT_EVERY_S)
        self._order.close()

    def _run(self) -> None:
        give_way()
        pause = LOOK_EVERY_S
        while not self._ended.wait(pause) and self._health:
            began = time.monotonic()
            moved = 0 if self._waits(began) else self._advance()
            pause = pause_after(time.monotonic() - began, self._share) if moved else LOOK_EVERY_S

    def _waits(self, now: float) -> bool:
        if not self._is_to_wait():
            self._waits_since = 0.0
            return False
        self._waits_since = self._waits_since or now
        return now - self._waits_since < PATIENCE_S

    def _advance(self) -> int:
        try:
            with self._health.guard("putting history in order"):
                return self._order.advance()
        except RaytideError as error:
            if not self._ended.is_set():
                log.warning("history was not put in order; it is tried again", cause=str(error))
            return 0


def pause_after(seconds: float, share: float) -> float:
    """Return how long to rest after work of `seconds`, so that work has its `share` of the time."""
    return seconds / share - seconds
