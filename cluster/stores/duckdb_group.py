"""The transaction that makes stream batches durable, and the one that opens a partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from cluster.errors import Refused
from cluster.faults import Point, reach
from cluster.ingest.ledger import Partition, partition_of
from cluster.ingest.resets import Reset, check_identity, never_opened
from cluster.records import Batch, PartitionStart
from cluster.stores.duckdb_resets import ResetTables
from cluster.stores.duckdb_rows import LedgerRow, insert_batches, insert_ledger
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_statements import Cursor, incoming, run, transaction

ADVANCE = """
    UPDATE partitions SET next_offset = incoming.next_offset FROM incoming
    WHERE partitions.topic = incoming.topic AND partitions."partition" = incoming."partition"
      AND partitions.epoch = incoming.epoch AND partitions.next_offset = incoming.first_offset"""

RECORDED = """
    SELECT count(*) FROM batches JOIN sources USING (source_id)
    WHERE kind = 'stream' AND topic = ? AND "partition" = ? AND epoch = ? AND first_position = ? AND next_position = ?"""


class StreamTables:
    """Reads and writes what streams leave in the file. One thread: the committer's."""

    def __init__(self, cursor: Cursor, sources: SourceIds, now_us: Callable[[], int]) -> None:
        self._cursor, self._sources, self._now_us = cursor, sources, now_us
        self._resets = ResetTables(cursor, sources, now_us)

    def starts(self) -> dict[Partition, PartitionStart]:
        """Return epoch and next offset of every partition."""
        rows = run(self._cursor, 'SELECT topic, "partition", epoch, next_offset, incarnation FROM partitions')
        return {(topic, partition): PartitionStart(*start) for topic, partition, *start in rows}

    def take_epoch(self, key: Partition, beginning: int, topic_id: str | None) -> PartitionStart:
        """Store and return a new epoch of a partition, which starts at `beginning` when it is new.

        Raise Lost when `topic_id` says that its topic was made anew.
        """
        known = self.starts().get(key)
        lives = self._resets.lives(key[0])
        if known:
            check_identity(key, known, lives, topic_id)
            start = replace(known, epoch=known.epoch + 1)
        else:
            start = PartitionStart(1, beginning, lives.new_partition(topic_id))
        with transaction(self._cursor):
            self._resets.remember(key[0], start.incarnation, lives, topic_id)
            if known:
                run(self._cursor, 'UPDATE partitions SET epoch = ? WHERE topic = ? AND "partition" = ?', [start.epoch, *key])
            else:
                values = [*key, start.epoch, start.next_offset, start.incarnation]
                run(self._cursor, "INSERT INTO partitions VALUES (?, ?, ?, ?, ?)", values)
        reach(Point.EPOCH_TAKEN)
        return start

    def reset(self, reset: Reset) -> PartitionStart:
        """See OfflineStore.reset_partition."""
        key = reset.topic, reset.partition
        if (known := self.starts().get(key)) is None:
            raise never_opened(reset)
        return self._resets.write(reset, known)

    def recorded(self, batch: Batch) -> bool:
        """Answer whether the ledger holds exactly this range under this epoch."""
        [(count,)] = run(self._cursor, RECORDED, [*partition_of(batch), batch.epoch, batch.first, batch.next])
        return bool(count)

    def write(self, batches: Sequence[Batch]) -> int:
        """Make the batches durable in one transaction; return its time (µs).

        The batches of a partition are in order and continue it; if the stored offsets disagree, nothing is written and
        Refused is raised.
        """
        now_us = self._now_us()
        with transaction(self._cursor):
            ids = self._sources.assign(self._cursor, [b.origin for b in batches], now_us)
            insert_batches(self._cursor, batches, ids, now_us)
            reach(Point.IN_TRANSACTION)
            insert_ledger(self._cursor, [LedgerRow.of(b, ids) for b in batches], now_us)
            self._advance(batches)
        reach(Point.COMMITTED)
        self._sources.confirm(ids)
        return now_us

    def _advance(self, batches: Sequence[Batch]) -> None:
        moves: dict[Partition, tuple[int, int, int]] = {}
        for batch in batches:
            epoch, first, _ = moves.get(partition_of(batch), (batch.epoch, batch.first, 0))
            moves[partition_of(batch)] = (epoch, first, batch.next)
        table = pa.table(
            {
                "topic": pa.array([topic for topic, _ in moves], pa.string()),
                "partition": pa.array([partition for _, partition in moves], pa.int32()),
                "epoch": pa.array([epoch for epoch, _, _ in moves.values()], pa.int64()),
                "first_offset": pa.array([first for _, first, _ in moves.values()], pa.int64()),
                "next_offset": pa.array([following for _, _, following in moves.values()], pa.int64()),
            },
        )
        with incoming(self._cursor, table):
            [(moved,)] = run(self._cursor, ADVANCE)
        if moved != len(moves):
            raise Refused(f"{len(moves) - moved} of {len(moves)} partitions are not where the ledger in memory has them")
