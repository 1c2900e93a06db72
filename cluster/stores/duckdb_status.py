"""What the writer says of itself, for `raytide status`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionLedger:
    """Where one partition's ledger is. `committed_at` is µs, None before the first commit of this writer process."""

    topic: str
    partition: int
    epoch: int
    next_offset: int
    committed_at: int | None


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """One look at the writer. Rows, rejects and commits are those of streams since this process started."""

    healthy: bool
    partitions: tuple[PartitionLedger, ...]
    rows: int
    rejected: int
    batches: int
    transactions: int
    last_commit_ms: float | None
    waiting_batches: int
    waiting_bytes: int
    file_bytes: int
    wal_bytes: int
