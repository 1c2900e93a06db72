"""The loop of one partition against stores that fail on purpose. No Ray, no sockets."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from cluster.config import IngestConfig
from cluster.errors import Fenced, Gap, Lost, Refused, RetryLater
from cluster.ingest.batch import rejects_table
from cluster.ingest.pipeline import Outcome, SourcePlan
from cluster.ingest.stream import Ports, State, StreamLoop
from cluster.monitoring.memory import MemoryMetrics
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch, Origin, PartitionStart, Reason, Records, Rejected

ORIGIN = Origin.stream("clicks", 0, 1)
BATCH = 10


@dataclass
class Source:
    """`size` records, ten at a time; sets `dry` when they were all read."""

    size: int
    dry: threading.Event = field(default_factory=threading.Event)
    at: int = 0
    told: list[int] = field(default_factory=list)
    lost_at: int | None = None
    other: Lost | None = None

    def seek(self, offset: int) -> None:
        self.at = offset

    def poll(self, timeout_s: float) -> Records | None:
        if self.at == self.lost_at:
            raise Lost("gone")
        if self.at >= self.size:
            self.dry.set()
            self.dry.wait(timeout_s)
            return None
        first, self.at = self.at, min(self.size, self.at + BATCH)
        positions = np.arange(first, self.at)
        return Records(first, self.at, positions, [b"x"] * len(positions), positions)

    def identity(self) -> str | None:
        return "id"

    def check(self) -> None:
        if self.other is not None:
            raise self.other

    def beginning(self) -> int:
        return 0

    def end(self) -> int:
        return self.size

    def commit(self, next_offset: int) -> None:
        self.told.append(next_offset)

    def close(self) -> None:
        """Nothing to let go of."""


class Plan:
    """One row for each record."""

    online = ("f",)

    def __init__(self, registry_version: int = 1) -> None:
        self.registry_version = registry_version

    def run(self, records: Records, now_us: int) -> Outcome:
        count = len(records)
        rows = pa.table(
            {
                "entity_id": [f"u{p % 3}" for p in records.positions],
                "feature_name": pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int16()), ["f"]),
                "value": [float(p) for p in records.positions],
                "event_timestamp": pa.array(records.positions, pa.timestamp("us")),
                "created_at": pa.array([now_us] * count, pa.timestamp("us")),
                "position": pa.array(records.positions, pa.int64()),
            },
            schema=ROWS_SCHEMA,
        )
        return Outcome(count, rows, REJECTS_SCHEMA.empty_table())


class BadPlan(Plan):
    """One row for each record of every second batch; the other batches are rejected as a whole."""

    def run(self, records: Records, now_us: int) -> Outcome:
        good = super().run(records, now_us)
        if records.first % (2 * BATCH) == 0:
            return good
        rejected = [Rejected(int(p), Reason.MALFORMED_JSON, "", b"x") for p in records.positions]
        return Outcome(0, good.rows.slice(0, 0), rejects_table(rejected))


class Letters:
    """Keeps the first position of each batch; fails the first `failures` times."""

    def __init__(self, ledger: Ledger, failures: int = 0) -> None:
        self.ledger, self.failures, self.sent, self.trouble = ledger, failures, list[int](), ""
        self.failed = threading.Event()

    def send(self, batch: Batch) -> None:
        assert (batch.first, batch.next) not in self.ledger.committed, "a letter comes before the commit"
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise RetryLater("Kafka is away")
        self.sent.append(batch.first)

    def close(self) -> None:
        """Nothing to let go of."""


class Online:
    """Keeps what it is given; fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.newest = failures, dict[str, float]()

    def write(self, rows: pa.Table) -> int:
        if self.failures:
            self.failures -= 1
            raise RetryLater("Redis is away")
        for row in rows.to_pylist():
            self.newest[row["entity_id"]] = row["value"]
        return int(rows.num_rows)


class Ledger:
    """Commits in order; raises what `plan` says for a batch's first offset, once each."""

    def __init__(self, errors: dict[int, list[Exception]] | None = None) -> None:
        self.errors, self.committed, self.epoch, self.most = errors or {}, list[tuple[int, int]](), 0, 0
        self.incarnation, self.incarnations = 0, set[int]()
        self.versions: dict[int, int] = {}  # of each batch by its first offset

    @property
    def next(self) -> int:
        return self.committed[-1][1] if self.committed else 0

    def open_partition(self, _topic: str, _partition: int, _beginning: int, _topic_id: str | None) -> PartitionStart:
        self.epoch += 1
        return PartitionStart(self.epoch, self.next, self.incarnation)

    def submit(self, batch: Batch) -> Future[None]:
        answer: Future[None] = Future()
        errors = self.errors.get(batch.first, [])
        if errors:
            answer.set_exception(errors.pop(0))
        elif batch.first != self.next:
            answer.set_exception(Gap("clicks", 0, batch.first, self.next))
        else:
            self.committed.append((batch.first, batch.next))
            self.incarnations.add(batch.origin.incarnation)
            self.versions[batch.first] = batch.origin.registry_version
            answer.set_result(None)
        return answer


class Slot:
    """Counts."""

    held = released = 0

    def hold(self) -> None:
        self.held += 1

    def release(self) -> None:
        self.released += 1


def loop(source: Source, ledger: Ledger, online: Online | None = None, slot: Slot | None = None) -> StreamLoop:
    ports = Ports(source, cast("Any", online or Online()), ledger, slot or Slot())
    return StreamLoop(ORIGIN, cast("SourcePlan", Plan()), ports, IngestConfig(), lambda: 1)


def loop_with_rejects(source: Source, ledger: Ledger, letters: Letters) -> StreamLoop:
    ports = Ports(source, cast("Any", Online()), ledger, Slot(), letters)
    return StreamLoop(ORIGIN, cast("SourcePlan", BadPlan()), ports, IngestConfig(), lambda: 1)


def run_dry(subject: StreamLoop, source: Source) -> None:
    """Run until every record was read, then drain."""
    stop = threading.Event()

    def stop_when_dry() -> None:
        source.dry.wait(30)
        stop.set()

    threading.Thread(target=stop_when_dry).start()
    subject.run(stop)


def test_everything_is_committed_in_order_and_kafka_hears_of_it_last() -> None:
    source, ledger, online = Source(55), Ledger(), Online()
    subject = loop(source, ledger, online)
    run_dry(subject, source)
    assert ledger.committed == [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 55)]
    assert source.told[-1] == 55
    assert online.newest == {"u0": 54.0, "u1": 52.0, "u2": 53.0}
    assert (subject.progress.state, subject.progress.events, subject.progress.committed) == (State.STOPPED, 55, 55)


def test_it_starts_where_the_ledger_ends() -> None:
    source, ledger = Source(30), Ledger()
    ledger.committed = [(0, 20)]
    run_dry(loop(source, ledger), source)
    assert ledger.committed == [(0, 20), (20, 30)]


def test_batches_belong_to_the_life_of_the_topic_that_is_read() -> None:
    source, ledger = Source(20), Ledger()
    ledger.incarnation = 2
    run_dry(loop(source, ledger), source)
    assert ledger.incarnations == {2}


def test_other_definitions_are_taken_between_two_batches() -> None:
    """Each batch has the version that computed it, and the ledger goes on without a gap or a repeat."""
    source, ledger = Source(60), Ledger()
    subject = loop(source, ledger)

    class SwitchingPlan(Plan):
        def run(self, records: Records, now_us: int) -> Outcome:
            if records.first == 20:
                subject.switch(cast("SourcePlan", Plan(2)))
            return super().run(records, now_us)

    subject.switch(cast("SourcePlan", SwitchingPlan(1)))
    run_dry(subject, source)
    assert ledger.committed == [(n, n + 10) for n in range(0, 60, 10)]
    assert ledger.versions == {0: 1, 10: 1, 20: 1, 30: 2, 40: 2, 50: 2}
    assert subject.progress.registry_version == 2


def test_an_idle_partition_takes_other_definitions_too() -> None:
    source, ledger = Source(0), Ledger()
    subject = loop(source, ledger)
    subject.switch(cast("SourcePlan", Plan(2)))
    run_dry(subject, source)
    assert subject.progress.registry_version == 2


def test_what_was_read_before_the_rest_was_lost_is_committed() -> None:
    source, ledger = Source(1000, lost_at=30), Ledger()
    with pytest.raises(Lost):
        loop(source, ledger).run(threading.Event())
    assert ledger.committed == [(0, 10), (10, 20), (20, 30)]


def test_an_idle_topic_that_is_made_anew_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ingest.stream.SILENCE_SECONDS", 0.0)
    source = Source(0, other=Lost("made again"))
    with pytest.raises(Lost, match="made again"):
        loop(source, Ledger()).run(threading.Event())


def test_redis_away_pauses_and_goes_on() -> None:
    source, ledger, online = Source(30), Ledger(), Online(failures=3)
    run_dry(loop(source, ledger, online), source)
    assert ledger.committed[-1] == (20, 30)
    assert online.newest["u2"] == 29.0


def test_a_writer_that_restarts_gets_the_same_batches_again() -> None:
    # The first batch fails, so its successors find a gap: all are sent again, in order, and none is lost.
    source, ledger = Source(30), Ledger({0: [RetryLater("writer is restarting")], 10: [RetryLater("the same")]})
    run_dry(loop(source, ledger), source)
    assert ledger.committed == [(0, 10), (10, 20), (20, 30)]


def test_a_lasting_gap_ends_the_loop_so_that_it_is_built_anew() -> None:
    source, ledger = Source(30), Ledger({10: [Gap("clicks", 0, 10, 20), Gap("clicks", 0, 10, 20)]})
    with pytest.raises(Gap):
        run_dry(loop(source, ledger), source)
    assert ledger.committed == [(0, 10)]


def test_a_fenced_loop_stops_at_once() -> None:
    source, ledger, slot = Source(30), Ledger({10: [Fenced("clicks", 0, 1, 2)]}), Slot()
    with pytest.raises(Fenced):
        run_dry(loop(source, ledger, slot=slot), source)
    assert ledger.committed[0] == (0, 10)
    assert slot.released


def test_reading_stops_while_the_writer_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: with the first batch unanswered, no more than `batches_in_flight` are ever read; and it says so."""
    source, ledger, stuck = Source(1000), Ledger(), Future[None]()
    reached = threading.Event()

    def submit(_batch: Batch) -> Future[None]:
        reached.set()
        return stuck

    ledger.submit = submit  # type: ignore[method-assign,assignment] # one writer that hangs
    subject, stop = loop(source, ledger), threading.Event()

    def run() -> None:
        with pytest.raises(RetryLater):
            subject.run(stop)

    runner = threading.Thread(target=run)
    runner.start()
    assert reached.wait(10)
    limit = IngestConfig().batches_in_flight
    while subject.progress.in_flight < limit:
        runner.join(0.01)
    assert source.at == limit * BATCH
    soon = subject.progress
    monkeypatch.setattr("cluster.ingest.stream.SILENCE_SECONDS", 0.0)
    late = subject.progress
    assert (soon.state, late.state) == (State.RUNNING, State.PAUSED)  # a moment's wait is nothing to report
    assert "the writer is busy, stopped or restarting" in late.note
    stop.set()
    stuck.set_exception(RetryLater("gone"))
    runner.join(10)
    assert not runner.is_alive()
    assert source.at == limit * BATCH


def test_a_silent_broker_is_told_from_an_idle_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ingest.stream.SILENCE_SECONDS", 0.0)
    source, answers = Source(0), [RetryLater("Kafka is away"), None]
    asked = threading.Event()
    subject, stop, seen = loop(source, Ledger()), threading.Event(), list[tuple[State, str]]()

    def end() -> int:
        seen.append((subject.progress.state, subject.progress.note))
        error = answers.pop(0) if answers else None
        if not answers:
            asked.set()
        if error:
            raise error
        return 0

    source.end = end  # type: ignore[method-assign] # one broker that is away once
    runner = threading.Thread(target=subject.run, args=(stop,))
    runner.start()
    assert asked.wait(10)
    stop.set()
    runner.join(10)
    assert seen[:2] == [(State.RUNNING, ""), (State.PAUSED, "Kafka is away")]
    assert subject.progress.state is State.STOPPED


def test_positions_without_records_are_accounted_for() -> None:
    """Compaction and control records leave ranges that hold nothing; the ledger passes over them."""
    source, ledger = Source(10), Ledger()
    poll = source.poll

    def poll_then_gap(timeout_s: float) -> Records | None:
        records = poll(timeout_s)
        if records is None and source.at == 10:
            source.at = 15
            return Records(10, 15, np.array([], np.int64), [], np.array([], np.int64))
        return records

    source.poll = poll_then_gap  # type: ignore[method-assign] # a topic that ends in a gap
    run_dry(loop(source, ledger), source)
    assert ledger.committed == [(0, 10), (10, 15)]


def test_rejects_are_letters_before_they_are_committed_and_other_batches_cost_nothing() -> None:
    source, ledger = Source(50), Ledger()
    letters = Letters(ledger)
    run_dry(loop_with_rejects(source, ledger, letters), source)
    assert letters.sent == [10, 30]
    assert ledger.committed[-1] == (40, 50)


def test_letters_that_cannot_be_sent_pause_the_partition_and_hold_the_commit_back() -> None:
    source, ledger = Source(50), Ledger()
    letters = Letters(ledger, failures=10**9)
    subject, stop = loop_with_rejects(source, ledger, letters), threading.Event()
    runner = threading.Thread(target=subject.run, args=(stop,))
    runner.start()
    assert letters.failed.wait(10)
    while subject.progress.state is not State.PAUSED:
        runner.join(0.01)
    assert subject.progress.note == "Kafka is away"
    assert ledger.committed == [(0, 10)]
    letters.failures = 0
    assert source.dry.wait(30)
    stop.set()
    runner.join(10)
    assert (letters.sent, ledger.committed[-1]) == ([10, 30], (40, 50))


def test_a_writer_that_restarts_does_not_repeat_letters() -> None:
    source, ledger = Source(50), Ledger({0: [RetryLater("restarting")], 10: [RetryLater("restarting")]})
    letters = Letters(ledger)
    run_dry(loop_with_rejects(source, ledger, letters), source)
    assert (letters.sent, ledger.committed[-1]) == ([10, 30], (40, 50))


def test_letters_in_trouble_are_told_while_the_stream_goes_on() -> None:
    source, ledger = Source(30), Ledger()
    letters = Letters(ledger)
    letters.trouble = "not in topic clicks.dead-letters"
    subject = loop_with_rejects(source, ledger, letters)
    run_dry(subject, source)
    assert subject.progress.note == "not in topic clicks.dead-letters"
    assert ledger.committed[-1] == (20, 30)


def test_too_many_rejects_halt_it_after_what_came_before_is_durable() -> None:
    source, ledger, letters = Source(40), Ledger(), Letters(Ledger())
    ports = Ports(source, cast("Any", Online()), ledger, Slot(), letters)
    subject = StreamLoop(ORIGIN, cast("SourcePlan", BadPlan()), ports, IngestConfig(max_reject_run=9), lambda: 1)
    with pytest.raises(Refused, match="raytide partitions resume clicks 0") as caught:
        subject.run(threading.Event())
    assert ledger.committed == [(0, 10)]
    assert not letters.sent
    assert "10 records in a row were rejected" in str(caught.value)
    assert "Nothing from offset 10 on was stored" in str(caught.value)


def test_allowed_rejects_let_it_go_on() -> None:
    source, ledger = Source(40), Ledger()
    ports = Ports(source, cast("Any", Online()), ledger, Slot(), Letters(ledger))
    ingest = IngestConfig(max_reject_run=9)
    run_dry(StreamLoop(ORIGIN, cast("SourcePlan", BadPlan()), ports, ingest, lambda: 1, allowed_rejects=20), source)
    assert ledger.committed[-1] == (30, 40)


def test_what_becomes_durable_is_measured_once_and_what_becomes_readable_too() -> None:
    source, ledger, metrics = Source(30), Ledger({0: [RetryLater("writer is restarting")]}), MemoryMetrics()
    letters = Letters(ledger)
    ports = Ports(source, cast("Any", Online(failures=2)), ledger, Slot(), letters, metrics)
    subject = StreamLoop(ORIGIN, cast("SourcePlan", BadPlan()), ports, IngestConfig(), lambda: 1_000_000)
    run_dry(subject, source)
    assert metrics.counted == {
        ("raytide_events", "clicks", "0"): 20,
        ("raytide_rows", "clicks"): 20,
        ("raytide_rejects", "clicks", "malformed_json"): 10,
    }
    assert metrics.observed["raytide_batch_records", "clicks"] == [10.0, 10.0, 10.0]
    freshness = metrics.observed["raytide_freshness_seconds", "clicks"]
    assert freshness, "of batches that Redis has taken"
    assert all(0.99 < seconds <= 1.0 for seconds in freshness)


def test_progress_says_how_old_the_last_durable_record_is() -> None:
    source, ledger = Source(55), Ledger()
    subject = loop(source, ledger)
    run_dry(subject, source)
    assert subject.progress.record_time == 54
