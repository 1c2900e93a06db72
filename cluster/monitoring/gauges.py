"""Gauges made of what the parts say of themselves. Each function sets all of its gauges, so that none keeps an old value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cluster.ingest.leases import Kind
from cluster.ingest.stream import State
from cluster.monitoring import metrics as m
from cluster.status import LimiterReport, OnlineReport, OnlineState, PartitionReport
from cluster.stores.duckdb_status import WriterStatus
from cluster.stores.ports import UploadState

FREE = "free"
FILE, WAL = "file", "wal"


def of_partitions(metrics: m.Metrics, partitions: Sequence[PartitionReport]) -> None:
    """Set what is known of each partition, and how many of a topic are in each state."""
    for report in partitions:
        at = report.topic, str(report.partition)
        metrics.set(m.HALTED, float(report.state == State.HALTED), *at)
        metrics.set(m.IN_FLIGHT, report.in_flight, *at)
        if report.lag is not None:
            metrics.set(m.LAG_RECORDS, report.lag, *at)
        if report.lag_seconds is not None:
            metrics.set(m.LAG_SECONDS, report.lag_seconds, *at)
    counts = Counter((report.topic, report.state) for report in partitions)
    for topic in {report.topic for report in partitions}:
        for state in State:
            metrics.set(m.PARTITIONS, counts[topic, str(state)], topic, str(state))


def of_writer(metrics: m.Metrics, status: WriterStatus | None) -> None:
    """Set what the writer says; None stands for one that does not answer."""
    metrics.set(m.WRITER_UP, float(status is not None and status.healthy))
    if status is None:
        return
    metrics.set(m.QUEUED_BATCHES, status.waiting_batches)
    metrics.set(m.QUEUED_BYTES, status.waiting_bytes)
    metrics.set(m.HISTORY_BYTES, status.file_bytes, FILE)
    metrics.set(m.HISTORY_BYTES, status.wal_bytes, WAL)
    metrics.set(m.DISK_FREE, status.free_bytes)


def of_uploads(metrics: m.Metrics, status: WriterStatus, now_us: int) -> None:
    """Set how many files are in each state, and how long the oldest of those that have not ended takes."""
    for state in UploadState:
        metrics.set(m.UPLOADS, status.uploads.get(str(state), 0), str(state))
    oldest = status.oldest_upload_at
    metrics.set(m.OLDEST_UPLOAD, max(0, now_us - oldest) / 1e6 if oldest else 0.0)


def of_limiter(metrics: m.Metrics, report: LimiterReport) -> None:
    """Set who has slots and who waits, by kind of work."""
    held, waiting = (Counter(slot.kind for slot in slots) for slots in (report.held, report.waiting))
    for kind in Kind:
        metrics.set(m.SLOTS, held[str(kind)], str(kind))
        metrics.set(m.SLOTS_WAITING, waiting[str(kind)], str(kind))
    metrics.set(m.SLOTS, report.slots - len(report.held), FREE)


def of_online(metrics: m.Metrics, report: OnlineReport) -> None:
    """Set whether Redis holds what it should; nothing while nobody has looked yet."""
    if report.state is not OnlineState.UNKNOWN:
        metrics.set(m.ONLINE_OK, float(report.state is OnlineState.OK))
