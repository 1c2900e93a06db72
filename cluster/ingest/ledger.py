"""Decides which waiting batches may be committed, so that each partition's ledger stays contiguous. Pure.

For each partition the committed ranges `[first, next)` follow one another under the newest epoch. Batches arrive in any
order, more than once, and from actors that were replaced; the ledger answers each of them exactly once. It knows no
clock and no store: times come with tickets (seconds of one monotonic clock), and `accept` is called once the store is
durable. One thread.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from cluster.errors import Fenced, Gap, Refused
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch, PartitionStart

Partition = tuple[str, int]

#: Answers whether the store's ledger holds exactly this range under this epoch.
Recorded = Callable[[Batch], bool]

REMEMBERED_RANGES = 256


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A batch on its way into the ledger. `future` ends when it is durable or refused."""

    batch: Batch
    since: float
    nbytes: int = 0
    future: Future[None] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a ticket: durable, or refused with `error`."""

    ticket: Ticket
    error: Refused | None = None


@dataclass(slots=True)
class _Partition:
    start: PartitionStart
    recent: OrderedDict[int, int] = field(default_factory=OrderedDict)  # first -> next, of this epoch
    waiting: dict[int, list[Ticket]] = field(default_factory=dict)  # by first


def partition_of(batch: Batch) -> Partition:
    """Return the partition whose ledger `batch` continues; raise Refused when it is not of a stream."""
    topic, partition = batch.origin.topic, batch.origin.partition
    if topic is None or partition is None:
        raise Refused(f"a batch of {batch.origin.kind} has no partition to continue: send files through open_upload")
    return topic, partition


def check_batch(batch: Batch) -> None:
    """Raise Refused for a batch that no ledger can take: wrong columns, or more records than positions."""
    span = f"batch [{batch.first}, {batch.next})"
    for what, table, schema in (("rows", batch.rows, ROWS_SCHEMA), ("rejects", batch.rejects, REJECTS_SCHEMA)):
        if not table.schema.equals(schema):
            raise Refused(f"{span}: its {what} lack {what.upper()}_SCHEMA of cluster.records; this is a fault of its sender")
    records = batch.events + batch.rejects.num_rows
    if batch.first >= batch.next or records > batch.next - batch.first:
        raise Refused(f"{span}: it cannot account for {records} records; this is a fault of its sender")


class Ledger:
    """The state of every partition and the batches that wait for it.

    A batch out of order waits `patience_s` for its predecessor. Methods that settle tickets return the answers; a
    ticket that is in none of them still waits. When `recorded` raises, no ticket is lost.
    """

    def __init__(self, recorded: Recorded, patience_s: float) -> None:
        self._recorded, self._patience_s = recorded, patience_s
        self._partitions: dict[Partition, _Partition] = {}

    def starts(self) -> dict[Partition, PartitionStart]:
        """Return epoch and next offset of every partition."""
        return {key: partition.start for key, partition in self._partitions.items()}

    def sync(self, key: Partition, start: PartitionStart) -> None:
        """Take over what the store says: at start-up, after `open_partition`, and after a failed transaction."""
        known = self._partitions.setdefault(key, _Partition(start))
        if start.epoch != known.start.epoch:
            known.recent.clear()
        known.start = start

    def offer(self, ticket: Ticket) -> list[Answer]:
        """Take a batch in, or answer it at once."""
        try:
            check_batch(ticket.batch)
            key = partition_of(ticket.batch)
        except Refused as error:
            return [Answer(ticket, error)]
        partition = self._partitions.get(key)
        if partition is None:
            return [Answer(ticket, Refused(f"{key[0]}[{key[1]}] was never opened: call open_partition first"))]
        answer = self._judge(partition, ticket)
        if answer is not None:
            return [answer]
        partition.waiting.setdefault(ticket.batch.first, []).append(ticket)
        return []

    def ready(self, most_rows: int, most_bytes: int) -> list[Ticket]:
        """Return tickets that continue their ledgers, oldest partitions first, one of each in turn.

        At least one if there is any; not more after `most_rows` rows or `most_bytes` bytes.
        """
        chains = [_chain(p) for p in sorted(self._partitions.values(), key=_head_age)]
        chosen: list[Ticket] = []
        rows = size = 0
        for ticket in _in_turn(chains):
            if rows >= most_rows or size >= most_bytes:
                break
            chosen.append(ticket)
            rows += ticket.batch.rows.num_rows
            size += ticket.nbytes
        return chosen

    def continues(self, ticket: Ticket) -> bool:
        """Answer whether `ticket` waits and is the next of its partition."""
        partition = self._partitions[partition_of(ticket.batch)]
        return ticket.batch.first == partition.start.next_offset and ticket in partition.waiting.get(ticket.batch.first, ())

    def accept(self, tickets: Iterable[Ticket]) -> list[Answer]:
        """Advance past `tickets`, which `ready` returned in this order and which are durable now."""
        answers = []
        for ticket in tickets:
            self.withdraw(ticket)
            _advance(self._partitions[partition_of(ticket.batch)], ticket.batch)
            answers.append(Answer(ticket))
        return answers

    def settled(self) -> list[Answer]:
        """Answer the waiting tickets that `accept` or `sync` decided: repeats, overlaps, older epochs."""
        found = [self._judge(p, ticket) for p in self._partitions.values() for ticket in _tickets(p)]
        answers = [answer for answer in found if answer is not None]
        for answer in answers:
            self.withdraw(answer.ticket)
        return answers

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a waiting ticket that its caller was answered otherwise."""
        waiting = self._partitions[partition_of(ticket.batch)].waiting
        same_first = waiting[ticket.batch.first]
        same_first.remove(ticket)
        if not same_first:
            del waiting[ticket.batch.first]

    def overdue(self, now: float) -> list[Answer]:
        """Give up on tickets whose predecessor did not come in time."""
        answers = []
        for partition, ticket in list(self._blocked()):
            if ticket.since + self._patience_s <= now:
                self.withdraw(ticket)
                answers.append(_gap(partition, ticket))
        return answers

    def next_deadline(self) -> float | None:
        """Return when `overdue` has something to say at the earliest; None while nothing is out of order."""
        return min((ticket.since + self._patience_s for _, ticket in self._blocked()), default=None)

    def waiting(self) -> list[Ticket]:
        """Return every ticket that has no answer yet."""
        return [t for partition in self._partitions.values() for t in _tickets(partition)]

    def _blocked(self) -> Iterator[tuple[_Partition, Ticket]]:
        for partition in self._partitions.values():
            if partition.waiting:
                reachable = {ticket.batch.first for ticket in _chain(partition)}
                yield from ((partition, t) for t in _tickets(partition) if t.batch.first not in reachable)

    def _judge(self, partition: _Partition, ticket: Ticket) -> Answer | None:
        batch, start = ticket.batch, partition.start
        if batch.epoch < start.epoch:
            return Answer(ticket, Fenced(*partition_of(batch), batch.epoch, start.epoch))
        if batch.epoch > start.epoch:
            return Answer(ticket, _from_the_future(batch, start))
        if batch.first >= start.next_offset:
            return None
        if partition.recent.get(batch.first) == batch.next or self._recorded(batch):
            return Answer(ticket)
        return _gap(partition, ticket)


def _from_the_future(batch: Batch, start: PartitionStart) -> Refused:
    topic, partition = partition_of(batch)
    return Refused(
        f"{topic}[{partition}]: epoch {batch.epoch} was never given, the newest is {start.epoch}; "
        "the DuckDB file is not the one that this actor was built from: call open_partition again",
    )


def _gap(partition: _Partition, ticket: Ticket) -> Answer:
    return Answer(ticket, Gap(*partition_of(ticket.batch), ticket.batch.first, partition.start.next_offset))


def _advance(partition: _Partition, batch: Batch) -> None:
    partition.start = replace(partition.start, next_offset=batch.next)
    partition.recent[batch.first] = batch.next
    if len(partition.recent) > REMEMBERED_RANGES:
        partition.recent.popitem(last=False)


def _tickets(partition: _Partition) -> list[Ticket]:
    return [ticket for same_first in partition.waiting.values() for ticket in same_first]


def _head_age(partition: _Partition) -> float:
    return min((t.since for t in partition.waiting.get(partition.start.next_offset, ())), default=0.0)


def _chain(partition: _Partition) -> Iterator[Ticket]:
    """Walk the tickets that continue the partition, each from where the one before ends."""
    following = partition.start.next_offset
    while same_first := partition.waiting.get(following):
        yield same_first[0]
        following = same_first[0].batch.next


def _in_turn(chains: Iterable[Iterator[Ticket]]) -> Iterator[Ticket]:
    """Take one ticket of each chain after the other until all are empty."""
    turns = deque(chains)
    while turns:
        chain = turns.popleft()
        ticket = next(chain, None)
        if ticket is not None:
            yield ticket
            turns.append(chain)
