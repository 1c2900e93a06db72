from __future__ import annotations

import pytest

from cluster.errors import Fenced, Gap, Refused
from cluster.ingest.ledger import REMEMBERED_RANGES, Answer, Ledger, Ticket
from cluster.records import Batch, PartitionStart
from tests.batches import stream_batch

KEY = ("events", 0)
PATIENCE_S = 5.0
MANY = 10**9


def never(_: Batch) -> bool:
    return False


def ledger_at(epoch: int, following: int) -> Ledger:
    ledger = Ledger(never, PATIENCE_S)
    ledger.sync(KEY, PartitionStart(epoch, following))
    return ledger


def ticket(epoch: int, first: int, following: int, *, since: float = 0.0, partition: int = 0, nbytes: int = 0) -> Ticket:
    return Ticket(stream_batch(epoch, first, following, partition=partition), since, nbytes)


def errors(answers: list[Answer]) -> list[str]:
    return [type(answer.error).__name__ for answer in answers]


def test_a_batch_that_continues_is_ready() -> None:
    ledger, next_one = ledger_at(1, 0), ticket(1, 0, 2)
    assert ledger.offer(next_one) == []
    assert ledger.ready(MANY, MANY) == [next_one]


def test_nothing_advances_before_it_is_accepted() -> None:
    ledger, next_one = ledger_at(1, 0), ticket(1, 0, 2)
    ledger.offer(next_one)
    ledger.ready(MANY, MANY)
    assert ledger.starts() == {KEY: PartitionStart(1, 0)}
    assert ledger.accept([next_one]) == [Answer(next_one)]
    assert ledger.starts() == {KEY: PartitionStart(1, 2)}


def test_a_repeat_of_what_waits_is_answered_with_it() -> None:
    ledger, first, repeat = ledger_at(1, 0), ticket(1, 0, 2), ticket(1, 0, 2)
    for each in (first, repeat):
        ledger.offer(each)
    assert ledger.ready(MANY, MANY) == [first]
    ledger.accept([first])
    assert ledger.settled() == [Answer(repeat)]


def test_the_store_knows_what_memory_forgot() -> None:
    asked = []

    def recorded(batch: Batch) -> bool:
        asked.append(batch.first)
        return batch.first == 0

    ledger = Ledger(recorded, PATIENCE_S)
    ledger.sync(KEY, PartitionStart(1, 0))
    for position in range(REMEMBERED_RANGES + 1):
        each = ticket(1, position, position + 1)
        ledger.offer(each)
        ledger.accept([each])
    assert errors(ledger.offer(ticket(1, 1, 2))) == ["NoneType"]
    assert asked == []
    assert errors(ledger.offer(ticket(1, 0, 1))) == ["NoneType"]
    assert asked == [0]


def test_a_range_of_an_earlier_epoch_is_not_a_repeat() -> None:
    ledger, first = ledger_at(1, 0), ticket(1, 0, 2)
    ledger.offer(first)
    ledger.accept([first])
    ledger.sync(KEY, PartitionStart(2, 2))
    assert errors(ledger.offer(ticket(2, 0, 2))) == ["Gap"]


def test_waiting_for_a_predecessor_ends_at_the_deadline() -> None:
    ledger, early = ledger_at(1, 0), ticket(1, 2, 4, since=10.0)
    ledger.offer(early)
    assert ledger.next_deadline() == 10.0 + PATIENCE_S
    assert ledger.overdue(10.0 + PATIENCE_S - 0.01) == []
    [answer] = ledger.overdue(10.0 + PATIENCE_S)
    assert isinstance(answer.error, Gap)
    assert (answer.error.first, answer.error.expected) == (2, 0)
    assert ledger.waiting() == []


def test_what_can_be_committed_has_no_deadline() -> None:
    ledger = ledger_at(1, 0)
    for each in (ticket(1, 2, 4), ticket(1, 0, 2)):
        ledger.offer(each)
    assert ledger.next_deadline() is None
    assert ledger.overdue(1e9) == []


def test_a_new_epoch_fences_what_waits() -> None:
    ledger = ledger_at(1, 0)
    ledger.offer(ticket(1, 0, 2))
    ledger.sync(KEY, PartitionStart(2, 0))
    [answer] = ledger.settled()
    assert isinstance(answer.error, Fenced)
    assert (answer.error.epoch, answer.error.current) == (1, 2)
    assert ledger.ready(MANY, MANY) == []


def test_partitions_take_turns_within_a_bound() -> None:
    ledger = ledger_at(1, 0)
    ledger.sync(("events", 1), PartitionStart(1, 0))
    for first in (0, 2, 4):
        for partition in (0, 1):
            ledger.offer(ticket(1, first, first + 2, since=float(first), partition=partition, nbytes=10))
    taken = [(t.batch.origin.partition, t.batch.first) for t in ledger.ready(8, MANY)]
    assert sorted(taken) == [(0, 0), (0, 2), (1, 0), (1, 2)]
    assert len(ledger.ready(MANY, 25)) == 3
    assert len(ledger.ready(1, 1)) == 1


def test_a_withdrawn_batch_leaves_its_successor_waiting() -> None:
    ledger, first, second = ledger_at(1, 0), ticket(1, 0, 2), ticket(1, 2, 4)
    for each in (first, second):
        ledger.offer(each)
    ledger.withdraw(first)
    assert not ledger.continues(second)
    assert ledger.ready(MANY, MANY) == []
    ledger.offer(first)
    assert ledger.ready(MANY, MANY) == [first, second]


def test_no_ticket_is_lost_when_the_store_cannot_be_asked() -> None:
    def broken(_: Batch) -> bool:
        raise OSError

    ledger = Ledger(broken, PATIENCE_S)
    ledger.sync(KEY, PartitionStart(1, 0))
    waiting = ticket(1, 0, 2)
    ledger.offer(waiting)
    ledger.sync(KEY, PartitionStart(1, 4))
    with pytest.raises(OSError):  # noqa: PT011 - ours, from above
        ledger.settled()
    assert ledger.waiting() == [waiting]


def test_a_batch_for_an_unknown_partition_is_refused() -> None:
    [answer] = Ledger(never, PATIENCE_S).offer(ticket(1, 0, 2))
    assert isinstance(answer.error, Refused)
    assert "events[0] was never opened" in str(answer.error)
