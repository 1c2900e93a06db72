"""The lives of topics, and the transaction that lets a partition go on elsewhere and declares what is lost."""

from __future__ import annotations

from collections.abc import Callable

from cluster.ingest.resets import Abandoned, Reset, TopicLives, empty_batches, plan
from cluster.records import PartitionStart
from cluster.stores.duckdb_rows import LedgerRow, insert_ledger
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_statements import Cursor, run, transaction

MOVE = """
    UPDATE partitions SET epoch = ?, next_offset = ?, incarnation = ? WHERE topic = ? AND "partition" = ?"""


class ResetTables:
    """Rows of `topics` and `abandoned`. One thread: the committer's."""

    def __init__(self, cursor: Cursor, sources: SourceIds, now_us: Callable[[], int]) -> None:
        self._cursor, self._sources, self._now_us = cursor, sources, now_us

    def lives(self, topic: str) -> TopicLives:
        """Return what is known of a topic."""
        return TopicLives(dict(run(self._cursor, "SELECT incarnation, topic_id FROM topics WHERE topic = ?", [topic])))

    def remember(self, topic: str, incarnation: int, lives: TopicLives, topic_id: str | None) -> None:
        """Store a topic's id when it is first seen, in the open transaction."""
        if topic_id is not None and incarnation not in lives.ids:
            values = [topic, incarnation, topic_id, self._now_us()]
            run(self._cursor, "INSERT INTO topics VALUES (?, ?, ?, make_timestamp(?::BIGINT))", values)

    def write(self, reset: Reset, known: PartitionStart) -> PartitionStart:
        """Make a reset durable, in one transaction; raise Refused when it may not be."""
        lives = self.lives(reset.topic)
        decided = plan(reset, known, lives)
        start, now_us = decided.start, self._now_us()
        batches = empty_batches(reset, decided)
        with transaction(self._cursor):
            ids = self._sources.assign(self._cursor, [batch.origin for batch in batches], now_us)
            if batches:
                insert_ledger(self._cursor, [LedgerRow.of(batch, ids) for batch in batches], now_us)
            for lost in decided.abandoned:
                self._declare(reset, lost, now_us)
            self.remember(reset.topic, start.incarnation, lives, reset.topic_id)
            where = reset.topic, reset.partition
            run(self._cursor, MOVE, [start.epoch, start.next_offset, start.incarnation, *where])
        self._sources.confirm(ids)
        return start

    def _declare(self, reset: Reset, lost: Abandoned, now_us: int) -> None:
        where = reset.topic, reset.partition, lost.incarnation
        values = [*where, lost.first, lost.next, lost.reason, reset.declared_by, now_us]
        run(self._cursor, "INSERT INTO abandoned VALUES (?, ?, ?, ?, ?, ?, ?, make_timestamp(?::BIGINT))", values)
