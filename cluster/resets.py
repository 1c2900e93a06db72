"""What `raytide partitions reset` asks for: checks it against Kafka, the ledger and what the partition is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from cluster.clock import now_us
from cluster.errors import NotFound, Refused
from cluster.ingest.resets import Abandoned, Reset, TopicLives, never_opened, plan
from cluster.ingest.stream import State
from cluster.records import PartitionStart
from cluster.registry.names import near_matches
from cluster.status import PartitionReport
from cluster.verify.report import Declared, Reads, rows

EARLIEST, LATEST = "earliest", "latest"
AT_WORK = {State.STARTING, State.RUNNING, State.PAUSED}

_KNOWN = 'SELECT epoch, next_offset, incarnation FROM partitions WHERE topic = ? AND "partition" = ?'
_LIVES = "SELECT incarnation, topic_id FROM topics WHERE topic = ?"


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """Which partition goes on where: `target` is `earliest`, `latest` or an offset. `expected` as in `Reset`."""

    topic: str
    partition: int
    target: str
    declared_by: str
    dry_run: bool = False
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class ResetAnswer:
    """Where the partition was, where it goes on, and what is declared as lost."""

    previous: int
    next: int
    declared: tuple[Declared, ...] = ()


class Kafka(Protocol):
    """What is asked of the broker; see KafkaAdmin."""

    def partitions_of(self, topic: str) -> int | None:
        """Return how many partitions a topic has."""

    def identity(self, topic: str) -> str | None:
        """Return a topic's id."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset that exists and the one after the last."""


class Store(Reads, Protocol):
    """What is asked of the writer."""

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """See OfflineStore."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reset needs. `restart` lets the partition begin anew, with the new epoch."""

    store: Store
    kafka: Kafka
    partitions: Callable[[], Iterable[PartitionReport]]
    restart: Callable[[str, int], None]
    registry_version: int


def reset_partition(parts: Parts, request: ResetRequest) -> ResetAnswer:
    """Do it, or say what it would do; raise NotFound or Refused, naming the next step."""
    reports = list(parts.partitions())
    _check_name(request, reports)
    reset, known, lives = _resolved(parts, request)
    decided = plan(reset, known, lives)
    answer = ResetAnswer(known.next_offset, decided.start.next_offset, tuple(_declared(reset, decided.abandoned)))
    state = next(r.state for r in reports if (r.topic, r.partition) == (request.topic, request.partition))
    if state in AT_WORK and answer.declared:
        raise Refused(
            f"{reset.name} is {state}: it reads by itself, and a reset would take records from it. A reset is for a partition "
            "that is HALTED: see `raytide status`"
        )
    if not request.dry_run and (answer.declared or state not in AT_WORK):
        parts.store.reset_partition(replace(reset, expected=known.next_offset))
        parts.restart(request.topic, request.partition)
    return answer


def _check_name(request: ResetRequest, reports: Iterable[PartitionReport]) -> None:
    numbers: dict[str, list[int]] = {}
    for report in reports:
        numbers.setdefault(report.topic, []).append(report.partition)
    if request.topic not in numbers:
        raise NotFound(f"topic: no source reads '{request.topic}'{near_matches(request.topic, numbers)}")
    if request.partition not in numbers[request.topic]:
        known = ", ".join(str(number) for number in sorted(numbers[request.topic]))
        raise NotFound(f"partition: {request.topic} has no partition {request.partition}; there are {known}")


def _resolved(parts: Parts, request: ResetRequest) -> tuple[Reset, PartitionStart, TopicLives]:
    if request.partition >= (parts.kafka.partitions_of(request.topic) or 0):
        raise Refused(f"topic: {request.topic}[{request.partition}] is not in Kafka (any more): create it, then reset it")
    topic_id = parts.kafka.identity(request.topic)  # first: see StreamLoop
    beginning, end = parts.kafka.bounds(request.topic, request.partition)
    reset = Reset(
        request.topic,
        request.partition,
        _target(request.target, beginning, end),
        beginning,
        end,
        topic_id,
        parts.registry_version,
        request.declared_by,
        request.expected,
    )
    found = rows(parts.store, _KNOWN, [request.topic, request.partition])
    if not found:
        raise never_opened(reset)
    lives = TopicLives({row["incarnation"]: row["topic_id"] for row in rows(parts.store, _LIVES, [request.topic])})
    return reset, PartitionStart(*found[0].values()), lives


def _target(text: str, beginning: int, end: int) -> int:
    if text in (EARLIEST, LATEST):
        return beginning if text == EARLIEST else end
    if not (text.isdecimal() and text.isascii()):
        raise Refused(
            f"target: '{text[:40]}' is not an offset: write `earliest`, `latest` or a number from {beginning} to {end}"
        )
    return int(text)


def _declared(reset: Reset, abandoned: Iterable[Abandoned]) -> Iterable[Declared]:
    for lost in abandoned:
        offsets = None if lost.next is None else lost.next - lost.first
        where = reset.topic, reset.partition, lost.incarnation, lost.first, lost.next
        yield Declared(*where, offsets, lost.reason, reset.declared_by, now_us())
