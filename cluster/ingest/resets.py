"""Going on where the stored offset no longer exists: what is missing, and what a reset declares as lost. Pure.

A partition's offsets begin anew when its topic is deleted and made again, or when Kafka lost the end of the log. Such a
new life is another `incarnation` with a ledger of its own, so that its positions never meet those of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cluster.errors import Lost, NotFound, Refused
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch, Origin, PartitionStart


@dataclass(frozen=True, slots=True)
class TopicLives:
    """The Kafka id of each life of a topic, by incarnation, as they were seen."""

    ids: dict[int, str]

    def new_partition(self, topic_id: str | None) -> int:
        """Return the incarnation that a partition never seen before belongs to."""
        known = [number for number, known_id in self.ids.items() if known_id == topic_id]
        if known or topic_id is None:
            return max(known or self.ids, default=0)
        return max(self.ids, default=-1) + 1

    def after(self, incarnation: int, topic_id: str | None) -> int:
        """Return the incarnation that follows on `incarnation` in a topic with this id; partitions share it."""
        shared = [number for number, known_id in self.ids.items() if number > incarnation and known_id == topic_id]
        return min(shared, default=max([incarnation, *self.ids]) + 1)


@dataclass(frozen=True, slots=True)
class Reset:
    """Go on reading at `target`, whatever was not read before it. The broker has `[beginning, end)` in topic `topic_id`.

    `expected` is the stored offset that the person saw who decided; None decides for any.
    """

    topic: str
    partition: int
    target: int
    beginning: int
    end: int
    topic_id: str | None
    registry_version: int
    declared_by: str
    expected: int | None = None

    @property
    def name(self) -> str:
        """Return the partition's name."""
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Positions `[first, next)` of one incarnation that nobody will read; `next` is None where the end is not known."""

    incarnation: int
    first: int
    next: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """Where the partition goes on, and what is declared as lost."""

    start: PartitionStart
    abandoned: tuple[Abandoned, ...]


def never_opened(reset: Reset) -> NotFound:
    """Return the error for a partition that no ledger knows."""
    return NotFound(f"{reset.name} was never read, so there is nothing to reset: see `raytide status`")


def empty_batches(reset: Reset, decided: ResetPlan) -> list[Batch]:
    """Return what the ledger needs to stay contiguous: an empty batch for each range whose end is known."""
    origin, start = Origin.stream(reset.topic, reset.partition, reset.registry_version), decided.start
    return [
        Batch(
            replace(origin, incarnation=lost.incarnation),
            start.epoch,
            lost.first,
            lost.next,
            0,
            ROWS_SCHEMA.empty_table(),
            REJECTS_SCHEMA.empty_table(),
        )
        for lost in decided.abandoned
        if lost.next is not None
    ]


def check_identity(key: tuple[str, int], known: PartitionStart, lives: TopicLives, topic_id: str | None) -> None:
    """Raise Lost when the topic is not the one that the ledger is about."""
    stored = lives.ids.get(known.incarnation)
    if stored is not None and topic_id is not None and stored != topic_id:
        raise made_again(*key, stored, topic_id)


def plan(reset: Reset, known: PartitionStart, lives: TopicLives) -> ResetPlan:
    """Return what a reset does to a partition, under a new epoch; raise Refused when it may not."""
    if not reset.beginning <= reset.target <= reset.end:
        raise Refused(
            f"{reset.name}: offset {reset.target} does not exist, Kafka has {reset.beginning} up to {reset.end}: choose one of "
            "these, or `earliest` or `latest`"
        )
    stored_id = lives.ids.get(known.incarnation)
    if stored_id is not None and reset.topic_id is not None and stored_id != reset.topic_id:
        return _new_life(reset, known, lives, "the topic was deleted and made again")
    if known.next_offset > reset.end:
        return _truncated(reset, known, lives)
    return _further_on(reset, known)


def _further_on(reset: Reset, known: PartitionStart) -> ResetPlan:
    following = known.next_offset
    start = replace(known, epoch=known.epoch + 1, next_offset=reset.target)
    if reset.target == following:
        return ResetPlan(start, ())
    _check_expected(reset, known)
    if reset.target < following:
        raise Refused(
            f"{reset.name}: everything below {following} is in history, going back to {reset.target} would double it; choose "
            f"{following} or later"
        )
    gone = min(reset.beginning, reset.target)
    reason = f"[{following}, {gone}) was removed by Kafka before it was read" if gone > following else ""
    skipped = f"[{max(gone, following)}, {reset.target}) was skipped on purpose" if reset.target > max(gone, following) else ""
    why = ", ".join(part for part in (reason, skipped) if part)
    return ResetPlan(start, (Abandoned(known.incarnation, following, reset.target, why),))


def _truncated(reset: Reset, known: PartitionStart, lives: TopicLives) -> ResetPlan:
    if reset.target != reset.end:
        raise Refused(
            f"{reset.name}: the ledger is at {known.next_offset} and Kafka's log ends at {reset.end}: what it holds below its "
            f"end is in history already and would be doubled; choose --to latest"
        )
    return _new_life(reset, known, lives, f"Kafka lost the end of its log and went on at {reset.end}", reset.end)


def _new_life(reset: Reset, known: PartitionStart, lives: TopicLives, why: str, beginning: int | None = None) -> ResetPlan:
    _check_expected(reset, known)
    incarnation = lives.after(known.incarnation, reset.topic_id)
    lost = [Abandoned(known.incarnation, known.next_offset, None, why)]
    first = reset.beginning if beginning is None else beginning
    if reset.target > first:
        lost.append(Abandoned(incarnation, first, reset.target, "skipped on purpose"))
    return ResetPlan(PartitionStart(known.epoch + 1, reset.target, incarnation), tuple(lost))


def _check_expected(reset: Reset, known: PartitionStart) -> None:
    if reset.expected is not None and reset.expected != known.next_offset:
        raise Refused(
            f"{reset.name}: it was at {reset.expected} and is at {known.next_offset} by now: look again, and decide again"
        )


def ways_on(topic: str, partition: int, *targets: tuple[str, str]) -> str:
    """Return the commands that go on, each with what it means."""
    command = f"raytide partitions reset {topic} {partition} --to"
    return "; ".join(f"{meaning}: `{command} {target}`" for target, meaning in targets)


def gone(topic: str, partition: int, offset: int, beginning: int, end: int) -> Lost:
    """Return the error for an offset that the broker, which has `[beginning, end)`, does not have."""
    name = f"{topic}[{partition}]"
    if offset > end:
        return Lost(
            f"{name}: the next record to read is {offset}, but Kafka's log ends at {end}: it lost the end of its log. "
            "Nothing is skipped silently. To go on with what is written from now on, and declare the rest as lost: "
            f"{ways_on(topic, partition, ('latest', 'from the end'))}"
        )
    missing = max(0, beginning - offset)
    if not missing:
        return Lost(
            f"{name}: Kafka lost a part of its log before offset {offset} and wrote it anew: what is in history there may "
            f"differ from what it has now. To go on: {ways_on(topic, partition, (str(offset), 'where the ledger is'))}"
        )
    return Lost(
        f"{name}: offsets [{offset}, {beginning}) are missing, {missing} in all: Kafka removed them before they were read "
        "(retention shorter than the time that Raytide was away). Nothing is skipped silently. To declare them as lost and "
        "go on: "
        + ways_on(
            topic,
            partition,
            ("earliest", f"with the oldest that there is, {beginning}"),
            ("latest", f"only with what is written from now on, which gives up {end - beginning} more"),
            ("OFFSET", f"at an offset from {beginning} to {end}"),
        )
    )


def made_again(topic: str, partition: int, stored_id: str, topic_id: str) -> Lost:
    """Return the error for a topic that is not the one that was read."""
    return Lost(
        f"{topic}[{partition}]: topic {topic} was deleted and made again: its id is {topic_id}, the one that was read had "
        f"{stored_id}. What that one still held is lost, and nobody can say how much it was. Nothing is read from the middle "
        "of the new one. To declare that and go on: "
        + ways_on(
            topic,
            partition,
            ("earliest", "with the beginning of the new one"),
            ("latest", "only with what is written from now on"),
        )
    )
