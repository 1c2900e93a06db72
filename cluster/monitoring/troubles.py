"""What of a status report needs a look: the worst first, each with its name, why, and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cluster.ingest.stream import State
from cluster.status import LimiterReport, OnlineState, PartitionReport, StatusReport
from cluster.stores.ports import Upload, UploadState
from cluster.stores.upload_rules import ENDED

#: From here on a partition counts as behind, a file as slow; how long a failed file is told; what a disk should have left.
BEHIND_SECONDS, SLOW_SECONDS, FAILED_SECONDS, FREE_BYTES = 10.0, 60.0, 3600.0, 5 * 2**30


class Weight(IntEnum):
    """How bad it is; 0 needs a person."""

    ACT = 0
    WAITS = 1  # goes on by itself
    SLOW = 2


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not as it should be."""

    weight: Weight
    what: str
    why: str


def troubles(report: StatusReport) -> list[Trouble]:
    """Return what is wrong, the worst first; nothing when all is well."""
    found = [*_writer(report), *_online(report), *_partitions(report), *_uploads(report)]
    return sorted(found, key=lambda trouble: trouble.weight)


def age(upload: Upload, now_us: int) -> float:
    """Return for how many seconds a file has been at work, or was until its end."""
    return max(0, (upload.updated_at if upload.state in ENDED else now_us) - upload.created_at) / 1e6


def is_behind(partition: PartitionReport) -> bool:
    """Return whether it is late by more than what is on its way anyhow."""
    return partition.lag_seconds is not None and partition.lag_seconds > BEHIND_SECONDS


def _writer(report: StatusReport) -> Iterator[Trouble]:
    writer = report.writer
    if writer.state != "RUNNING":
        yield Trouble(Weight.WAITS, f"writer is {writer.state}", writer.note)
    elif writer.free_bytes < FREE_BYTES:
        left = f"{writer.free_bytes / 2**30:.1f} GiB are left"
        yield Trouble(Weight.ACT, "disk of the history is nearly full", f"{left}: make room, before streams have to wait")


def _online(report: StatusReport) -> Iterator[Trouble]:
    online = report.online
    if online.state is OnlineState.REBUILDING:
        done = f"{online.entities_done:,} of {online.entities_total:,} entities are written"
        yield Trouble(Weight.WAITS, "online store is REBUILDING", f"{done}; until then a read may miss values")
    elif online.state is not OnlineState.OK:
        yield Trouble(Weight.WAITS, f"online store is {online.state}", online.note or "nobody has looked yet")
    elif online.note:
        yield Trouble(Weight.WAITS, "online store is OK, but", online.note)


def _partitions(report: StatusReport) -> Iterator[Trouble]:
    for partition in sorted(report.partitions, key=lambda p: -(p.lag_seconds or 0.0)):
        name = f"{partition.topic}[{partition.partition}]"
        if partition.state == State.HALTED:
            yield Trouble(Weight.ACT, f"{name} is HALTED", partition.note)
        elif partition.state != State.RUNNING:
            yield Trouble(Weight.WAITS, f"{name} is {partition.state}", partition.note or "it has not said more yet")
        elif is_behind(partition):
            yield Trouble(Weight.SLOW, f"{name} is behind", _behind(partition, report.limiter))
        elif partition.note:
            yield Trouble(Weight.ACT, f"{name} runs, but", partition.note)


def _behind(partition: PartitionReport, limiter: LimiterReport) -> str:
    how_far = f"{partition.lag:,} records" if partition.lag is not None else "records"
    why = f"{how_far}, the oldest for {partition.lag_seconds:.0f} s; {partition.in_flight} batches in flight"
    waits = any(slot.holder == partition.actor for slot in limiter.waiting)
    return f"{why}; it waits for a worker slot (workers.max)" if waits else why


def _uploads(report: StatusReport) -> Iterator[Trouble]:
    for upload in report.uploads:
        seconds = age(upload, report.taken_at)
        name = f"file {upload.name} ({upload.upload_id})"
        if upload.state is UploadState.FAILED and report.taken_at - upload.updated_at < FAILED_SECONDS * 1e6:
            yield Trouble(Weight.ACT, f"{name} FAILED", upload.error)
        elif upload.state not in ENDED and seconds > SLOW_SECONDS:
            why = f"{upload.state} for {seconds:.0f} s, {upload.rows:,} rows so far; {_workers(upload, report.limiter)}"
            yield Trouble(Weight.SLOW, f"{name} is slow", why)


def _workers(upload: Upload, limiter: LimiterReport) -> str:
    if upload.state is UploadState.RECEIVING:
        return "its bytes are still on their way, or its sender is gone"
    held, waiting = (sum(slot.job == upload.upload_id for slot in slots) for slots in (limiter.held, limiter.waiting))
    return f"workers at it: {held}, waiting for a slot: {waiting}; {len(limiter.held)} of {limiter.slots} slots are taken"
