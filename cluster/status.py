"""What `raytide status` shows: plain data, put together by the supervisor, carried by the gateway. Times are µs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.errors import NotFound
from cluster.stores.ports import Upload


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where things are. `redis_url` never holds a password; `dashboard` is empty when there is none."""

    bootstrap_servers: str = ""
    redis_url: str = ""
    gateway: str = ""
    dashboard: str = ""


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """One Kafka partition and the actor that reads it.

    `state` is one of `cluster.ingest.stream.State`. Offsets are None until known; counts are since the actor started.
    `lag_seconds` is the age of what is in Kafka and not durable here, None until known.
    """

    topic: str
    partition: int
    state: str
    note: str = ""
    actor: str = ""
    epoch: int = 0
    next_offset: int | None = None
    end_offset: int | None = None
    events: int = 0
    rejected: int = 0
    in_flight: int = 0
    registry_version: int = 0
    lag_seconds: float | None = None

    @property
    def lag(self) -> int | None:
        """Return how many records wait in Kafka, or None when one of the offsets is not known."""
        if self.next_offset is None or self.end_offset is None:
            return None
        return max(0, self.end_offset - self.next_offset)


def unknown_partition(wanted: tuple[str, int], known: Iterable[tuple[str, int]]) -> NotFound:
    """Return the error for a partition that no source has."""
    names = sorted(f"{topic} {number}" for topic, number in known)
    close = difflib.get_close_matches(f"{wanted[0]} {wanted[1]}", names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none yet'}"
    return NotFound(f"no partition {wanted[1]} of topic {wanted[0]} is read here: {hint}")


@dataclass(frozen=True, slots=True)
class SlotReport:
    """A worker that has one of the cluster's slots, for `seconds`, or waits for one."""

    holder: str
    kind: str
    job: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LimiterReport:
    """The cluster-wide cap on workers: how many slots there are, who has one and who waits."""

    slots: int = 0
    reserved_for_streams: int = 0
    most_at_once: int = 0
    held: tuple[SlotReport, ...] = ()
    waiting: tuple[SlotReport, ...] = ()


@dataclass(frozen=True, slots=True)
class WriterReport:
    """The writer: RUNNING, PAUSED or AWAY, what it committed since it started, and what waits."""

    state: str = "AWAY"
    note: str = ""
    commits: int = 0
    batches: int = 0
    rows: int = 0
    queued_batches: int = 0
    queued_bytes: int = 0
    file_bytes: int = 0
    free_bytes: int = 0


class OnlineState(StrEnum):
    """Whether the online store holds the newest of history."""

    UNKNOWN = "UNKNOWN"  # nobody looked yet
    OK = "OK"
    REBUILDING = "REBUILDING"  # it was emptied, or somebody asked; new values arrive meanwhile
    AWAY = "AWAY"  # goes on by itself


class Scope(StrEnum):
    """What is verified: everything with a sample of the windows, everything with all of them, or that sample alone."""

    SAMPLE = "SAMPLE"
    FULL = "FULL"
    WINDOWS = "WINDOWS"


@dataclass(frozen=True, slots=True)
class OnlineReport:
    """The online store: its state, why, and how many entities the rebuild that runs or ran last has written, of how many."""

    state: OnlineState = OnlineState.UNKNOWN
    note: str = ""
    entities_done: int = 0
    entities_total: int = 0


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """One of the processes that answer clients: RUNNING at an address, or AWAY."""

    name: str
    state: str = "AWAY"
    address: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """Bytes of uploaded files on the gateway's disk: all of them, what originals may take, whole files, and beginnings."""

    bytes: int = 0
    budget_bytes: int = 0
    files: int = 0
    receiving: int = 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What every part is doing. `partitions` come by topic and number, `uploads` newest first."""

    project: str
    registry_version: int
    taken_at: int
    endpoints: Endpoints = field(default_factory=Endpoints)
    partitions: tuple[PartitionReport, ...] = ()
    limiter: LimiterReport = field(default_factory=LimiterReport)
    writer: WriterReport = field(default_factory=WriterReport)
    uploads: tuple[Upload, ...] = ()
    online: OnlineReport = field(default_factory=OnlineReport)
    spool: SpoolReport = field(default_factory=SpoolReport)
    gateways: tuple[GatewayReport, ...] = ()
