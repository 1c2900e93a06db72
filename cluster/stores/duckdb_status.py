"""What the writer says of itself, for `raytide status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """One look at the writer. Rows, rejects and commits are those of streams since this process started.

    `free_bytes` is what its disk has left. `uploads` counts files by state; `oldest_upload_at` (µs) is when the oldest of
    those that have not ended began, None when all have.
    """

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
    free_bytes: int = 0
    uploads: Mapping[str, int] = field(default_factory=dict)
    oldest_upload_at: int | None = None
