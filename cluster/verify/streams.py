"""The ledger of the partitions against itself and against Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cluster.verify.report import Check, Declared, PartitionState, Reads, offenders, rows

Ends = Callable[[], Mapping[tuple[str, int], int]]

_PARTITIONS = """
    SELECT topic, "partition", next_offset AS next, coalesce(first, next_offset) AS first
    FROM partitions LEFT JOIN (
        SELECT topic, "partition", incarnation, min(first_position) AS first
        FROM batches JOIN sources USING (source_id) WHERE kind = 'stream' GROUP BY ALL
    ) USING (topic, "partition", incarnation)
    ORDER BY ALL"""

_COUNT = "SELECT count(*) AS n FROM batches JOIN sources USING (source_id) WHERE kind = 'stream'"

# Batches of each life of a topic in order: each starts where the one before ended, and the partition goes on where the
# last one ended; of a life that is over, what follows on its end was declared as lost. A declared range is a batch.
_BROKEN = """
    WITH ledger AS (
        SELECT topic, "partition", incarnation, first_position AS first, next_position AS next,
            lag(next_position) OVER (
                PARTITION BY topic, "partition", incarnation ORDER BY first_position, next_position
            ) AS before
        FROM batches JOIN sources USING (source_id) WHERE kind = 'stream'
    ), ends AS (
        SELECT topic, "partition", incarnation, max(next) AS ledger_end FROM ledger GROUP BY ALL
    ), goes_on AS (
        SELECT topic, "partition", incarnation, next_offset FROM partitions
        UNION ALL
        SELECT topic, "partition", incarnation, first_position FROM abandoned WHERE next_position IS NULL
    ), empty AS (
        SELECT topic, "partition", incarnation, first_position, next_position FROM batches JOIN sources USING (source_id)
        WHERE kind = 'stream' AND events = 0 AND "rows" = 0 AND rejected = 0
    )
    SELECT format('{}[{}]: a batch starts at {}, the one before ended at {}', topic, "partition", first, before) AS text
        FROM ledger WHERE first <> before
    UNION ALL
    SELECT format('{}[{}]: a batch goes from {} back to {}', topic, "partition", first, next)
        FROM ledger WHERE next < first
    UNION ALL
    SELECT format('{}[{}]: the ledger ends at {}, the partition goes on at {}', topic, "partition", ledger_end,
            coalesce(next_offset::VARCHAR, 'an unknown offset'))
        FROM ends LEFT JOIN goes_on USING (topic, "partition", incarnation) WHERE ledger_end IS DISTINCT FROM next_offset
    UNION ALL
    SELECT format('{}[{}]: {} up to {} were declared as lost, the ledger has no such range', topic, "partition",
            first_position, next_position)
        FROM (FROM abandoned WHERE next_position IS NOT NULL)
        ANTI JOIN empty USING (topic, "partition", incarnation, first_position, next_position)"""

_DECLARED = """
    SELECT topic, "partition", incarnation, first_position AS first, next_position AS next,
        next_position - first_position AS offsets, reason, declared_by, epoch_us(declared_at) AS declared_at_us
    FROM abandoned ORDER BY declared_at, topic, "partition", incarnation, first_position"""


def partitions(reads: Reads, kafka_ends: Ends | None) -> list[PartitionState]:
    """Return how far each partition is; those that only Kafka knows have not been started."""
    known = {(row["topic"], row["partition"]): row for row in rows(reads, _PARTITIONS)}
    ends = kafka_ends() if kafka_ends is not None else {}
    unstarted = {"first": 0, "next": 0}
    return [_state(key, known.get(key, unstarted), ends.get(key)) for key in sorted({*known, *ends})]


def contiguous(reads: Reads) -> Check:
    """Check that the batches of each partition follow one another up to its next offset."""
    [counted] = rows(reads, _COUNT)
    return Check("ledger is contiguous", counted["n"], *offenders(reads, _BROKEN))


def declared(reads: Reads) -> list[Declared]:
    """Return what somebody declared as lost, ever."""
    return [Declared(**row) for row in rows(reads, _DECLARED)]


def not_ahead(states: list[PartitionState]) -> Check:
    """Check that no partition has read what Kafka does not have."""
    asked = [state for state in states if state.end is not None]
    wrong = [
        f"{s.topic}[{s.partition}]: the ledger is at {s.next}, Kafka ends at {s.end}: was the topic made anew?"
        for s in asked
        if s.behind is not None and s.behind < 0
    ]
    return Check.of("ledger is not ahead of Kafka", len(asked), wrong)


def _state(key: tuple[str, int], row: Mapping[str, int], end: int | None) -> PartitionState:
    behind = None if end is None else end - row["next"]
    return PartitionState(*key, first=row["first"], next=row["next"], end=end, behind=behind)
