from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.errors import Fenced, Gap
from cluster.ingest.ledger import Answer, Ledger, Partition, Ticket, partition_of
from cluster.records import Batch, PartitionStart
from tests.batches import stream_batch

PATIENCE_S = 5.0
EVERYTHING = 10**9

partitions = st.integers(0, 1)
spans = st.tuples(st.integers(0, 11), st.integers(1, 3)).map(lambda s: (s[0], s[0] + s[1]))


class Store:
    """What a crash leaves: the ledger rows of each partition, its epoch and its next offset."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.starts: dict[Partition, PartitionStart] = {}

    def recorded(self, batch: Batch) -> bool:
        return any(self._key(batch) == self._key(b) for b in self.batches)

    def write(self, batches: list[Batch]) -> None:
        for batch in batches:
            self.batches.append(batch)
            self.starts[partition_of(batch)] = PartitionStart(batch.epoch, batch.next)

    @staticmethod
    def _key(batch: Batch) -> tuple[Partition, int, int, int]:
        return partition_of(batch), batch.epoch, batch.first, batch.next


class WriterMachine(RuleBasedStateMachine):
    """Actors old and new send anything, in any order, again and again, while transactions fail and the writer restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.now = 0.0
        self.answered: list[Ticket] = []
        self.restart()
        for partition in (0, 1):
            self.open(partition)

    @rule()
    def restart(self) -> None:
        self.ledger = Ledger(self.store.recorded, PATIENCE_S)
        for key, start in self.store.starts.items():
            self.ledger.sync(key, start)

    @rule(partition=partitions)
    def open(self, partition: int) -> None:
        key = ("events", partition)
        known = self.store.starts.get(key, PartitionStart(0, 0))
        self.store.starts[key] = PartitionStart(known.epoch + 1, known.next_offset)
        self.ledger.sync(key, self.store.starts[key])

    @rule(partition=partitions, lost=st.integers(1, 5))
    def reset(self, partition: int, lost: int) -> None:
        key = ("events", partition)
        known = self.store.starts[key]
        empty = stream_batch(known.epoch + 1, known.next_offset, known.next_offset + lost, partition=partition)
        self.store.write([replace(empty, events=0, rows=empty.rows.slice(0, 0))])
        self.ledger.sync(key, self.store.starts[key])

    @rule(partition=partitions, span=spans, behind=st.integers(0, 2))
    def send(self, partition: int, span: tuple[int, int], behind: int) -> None:
        epoch = max(1, self.store.starts["events", partition].epoch - behind)
        self.check(self.ledger.offer(Ticket(stream_batch(epoch, *span, partition=partition), self.now)))

    @rule(partition=partitions, lengths=st.lists(st.integers(1, 3), min_size=1, max_size=3), order=st.randoms())
    def send_what_comes_next(self, partition: int, lengths: list[int], order: Random) -> None:
        start = self.store.starts["events", partition]
        ends = [start.next_offset + sum(lengths[:n]) for n in range(len(lengths) + 1)]
        batches = [stream_batch(start.epoch, *span, partition=partition) for span in pairwise(ends)]
        order.shuffle(batches)
        for batch in batches:
            self.check(self.ledger.offer(Ticket(batch, self.now)))

    @rule(most_rows=st.integers(1, 9))
    def commit(self, most_rows: int) -> None:
        group = self.ledger.ready(most_rows, EVERYTHING)
        self.store.write([t.batch for t in group])
        self.check(self.ledger.accept(group))
        self.check(self.ledger.settled())

    @rule(became_durable=st.booleans())
    def commit_with_an_error(self, *, became_durable: bool) -> None:
        group = self.ledger.ready(EVERYTHING, EVERYTHING)
        if became_durable:
            self.store.write([t.batch for t in group])
        for key, start in self.store.starts.items():
            self.ledger.sync(key, start)
        self.check(self.ledger.settled())

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.check(self.ledger.overdue(self.now))

    def check(self, answers: list[Answer]) -> None:
        for answer in answers:
            batch, start = answer.ticket.batch, self.store.starts[partition_of(answer.ticket.batch)]
            assert answer.ticket not in self.answered
            self.answered.append(answer.ticket)
            if answer.error is None:
                assert self.store.recorded(batch)
            elif isinstance(answer.error, Fenced):
                assert batch.epoch < start.epoch
            else:
                assert isinstance(answer.error, Gap)
                assert batch.epoch == start.epoch
                assert not self.store.recorded(batch)

    @invariant()
    def each_position_is_committed_once_and_in_order(self) -> None:
        for key, start in self.store.starts.items():
            batches = [b for b in self.store.batches if partition_of(b) == key]
            assert [0, *(b.next for b in batches)] == [*(b.first for b in batches), start.next_offset]
            assert all(a.epoch <= b.epoch for a, b in pairwise(batches))

    @invariant()
    def what_waits_has_a_reason(self) -> None:
        self.check(self.ledger.settled())
        starts = self.ledger.starts()
        for ticket in self.ledger.waiting():
            start = starts[partition_of(ticket.batch)]
            assert (ticket.batch.epoch, True) == (start.epoch, ticket.batch.first >= start.next_offset)


TestWriterMachine = WriterMachine.TestCase
TestWriterMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=150, deadline=None)
@given(st.lists(spans, max_size=12), st.integers(1, 6))
def test_one_epoch_commits_the_chain_of_first_comers(offered: list[tuple[int, int]], most_rows: int) -> None:
    expected: list[tuple[int, int]] = []
    while following := next((s for s in offered if s[0] == (expected[-1][1] if expected else 0)), None):
        expected.append(following)

    store = Store()
    ledger = Ledger(store.recorded, PATIENCE_S)
    ledger.sync(("events", 0), PartitionStart(1, 0))
    tickets = [Ticket(stream_batch(1, *span), 0.0) for span in offered]
    answers = [a for ticket in tickets for a in ledger.offer(ticket)]
    while group := ledger.ready(most_rows, EVERYTHING):
        store.write([t.batch for t in group])
        answers += [*ledger.accept(group), *ledger.settled()]
    answers += ledger.overdue(PATIENCE_S)

    assert [(b.first, b.next) for b in store.batches] == expected
    assert len(answers) == len(tickets)
    for answer in answers:
        done = (answer.ticket.batch.first, answer.ticket.batch.next) in expected
        assert done == (answer.error is None)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.randoms())
def test_any_order_of_arrival_commits_everything(lengths: list[int], order: Random) -> None:
    ends = [sum(lengths[:n]) for n in range(len(lengths) + 1)]
    tickets = [Ticket(stream_batch(1, *span), 0.0) for span in pairwise(ends)]
    order.shuffle(tickets)
    store = Store()
    ledger = Ledger(store.recorded, PATIENCE_S)
    ledger.sync(("events", 0), PartitionStart(1, 0))
    for ticket in tickets:
        assert ledger.offer(ticket) == []
    group = ledger.ready(EVERYTHING, EVERYTHING)
    assert [t.batch.next for t in group] == ends[1:]
    assert ledger.next_deadline() is None
    assert ledger.accept(group) == [Answer(t) for t in group]
    assert ledger.waiting() == []
