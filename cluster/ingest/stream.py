"""One partition's loop: read, run the plan, write online, hand over to the writer, and only then tell Kafka.

Plain Python behind ports: `actors.partition` gives it a process, tests give it twins. Batches overlap: while one is
decoded, the one before is written to Redis on a second thread, and those before that are being committed. All of them
are bounded by `batches_in_flight`; when a store is slow or away, reading stops there and nothing is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential

from cluster.clock import now_us
from cluster.config import IngestConfig
from cluster.errors import Gap, RaytideError, Refused, RetryLater
from cluster.faults import Point, reach
from cluster.ingest.merge import newest, online_rows
from cluster.ingest.pipeline import SourcePlan
from cluster.ingest.reject_limit import RejectCount, RejectLimit, TooMany
from cluster.monitoring.metrics import NO_METRICS, Metrics
from cluster.monitoring.streams import StreamMeter
from cluster.records import Batch, Origin, PartitionStart, Records
from cluster.stores.ports import DeadLetters, NoDeadLetters, OnlineStore, RecordSource

POLL_SECONDS = 0.2
GLANCE_SECONDS = 0.01  # between looks at the batches in flight, while Kafka has nothing ready
SILENCE_SECONDS = 5.0
TELL_KAFKA_SECONDS = 1.0


class Ledger(Protocol):
    """The writer, as a partition sees it."""

    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None) -> PartitionStart:
        """Take a new epoch and learn where to read next; see OfflineStore."""

    def submit(self, batch: Batch) -> Future[None]:
        """Start OfflineStore.commit; the future ends when the batch is durable, or with its error."""


class Slot(Protocol):
    """This partition's claim on one of the cluster's worker slots."""

    def hold(self) -> None:
        """Return when the slot is ours, at once while it already is; renew it, and pass it on when others wait."""

    def release(self) -> None:
        """Give the slot back while there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What one partition needs from the outside."""

    source: RecordSource
    online: OnlineStore
    ledger: Ledger
    slot: Slot
    dead_letters: DeadLetters = NoDeadLetters()  # noqa: RUF009 - it has no state
    metrics: Metrics = NO_METRICS


class State(StrEnum):
    """What a partition is doing, as `raytide status` shows it."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # a store or Kafka is away; goes on by itself
    WAITING = "WAITING"  # not built yet: writer or topic away
    HALTED = "HALTED"  # needs a person
    FENCED = "FENCED"  # a successor took over
    AWAY = "AWAY"  # said by others: its process does not answer
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a partition says of itself. `committed` is its ledger's next offset; counts are since the actor started.

    `record_time` (µs) is that of the last record which this actor made durable, 0 before the first.
    """

    state: State = State.STARTING
    note: str = ""
    epoch: int = 0
    committed: int = -1
    read: int = -1
    events: int = 0
    rejected: int = 0
    in_flight: int = 0
    registry_version: int = 0
    record_time: int = 0
    node: str = ""  # where its process is, in Ray's words


class _Sent(NamedTuple):
    """A batch in flight, on its way through the online store to the ledger, and the time of its last record."""

    batch: Batch
    stored: Future[Future[None]]
    record_time: int


class StreamLoop:
    """Drives one partition for one epoch. `run` is called by one thread; `progress` may be read by any.

    The first `allowed_rejects` rejects do not count towards the limit.
    """

    def __init__(
        self,
        origin: Origin,
        plan: SourcePlan,
        ports: Ports,
        ingest: IngestConfig,
        clock_us: Callable[[], int] = now_us,
        *,
        allowed_rejects: int = 0,
    ) -> None:
        self._origin, self._plan = origin, plan
        self._source, self._online, self._ledger, self._slot = ports.source, ports.online, ports.ledger, ports.slot
        self._dead_letters, self._lettered = ports.dead_letters, set[int]()  # `first` of batches in flight that were sent
        self._limit, self._clock_us = ingest.batches_in_flight, clock_us
        self._wanted_plan = plan  # also written by whoever calls `switch`
        self._in_flight: deque[_Sent] = deque()
        self._meter = StreamMeter(ports.metrics, str(origin.topic), int(origin.partition or 0))
        self._told_kafka = (time.monotonic(), -1)
        self._heard = time.monotonic()
        self._epoch = 0
        limit = RejectLimit(ingest.max_reject_share, ingest.reject_window, ingest.max_reject_run)
        self._rejects = RejectCount(limit, allowed_rejects)
        self._progress = Progress(registry_version=plan.registry_version)
        self._oldest_since: float | None = None  # when the oldest batch in flight became the oldest
        self._trouble = ""  # also written by the storing thread, everything else by the running one alone

    @property
    def progress(self) -> Progress:
        """Return what this partition is doing right now."""
        if self._trouble:
            return replace(self._progress, state=State.PAUSED, note=self._trouble)
        since = self._oldest_since
        waited = 0.0 if since is None else time.monotonic() - since
        if waited > SILENCE_SECONDS:
            note = f"no batch became durable for {waited:.0f} s: the writer is busy, stopped or restarting"
            return replace(self._progress, state=State.PAUSED, note=note)
        return replace(self._progress, note=self._progress.note or self._dead_letters.trouble)

    def switch(self, plan: SourcePlan) -> None:
        """Use `plan` from the next batch on; what was read before keeps the version that it was computed by. Any thread."""
        self._wanted_plan = plan

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish what is in flight.

        Raise Fenced when a successor took over, Gap when the ledger is elsewhere (build anew), RetryLater when the
        writer or Kafka is away while starting, Lost when the stored offset or its topic no longer exists, Refused when too
        much is rejected.
        """
        self._start()
        with ThreadPoolExecutor(1, thread_name_prefix="store") as storing:
            try:
                while not stop.is_set():
                    self._step(storing, stop)
                self._drain(stop)
            finally:
                self._slot.release()
                storing.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        topic, partition = str(self._origin.topic), int(self._origin.partition or 0)
        topic_id = self._source.identity()  # before the beginning: that of a topic made anew in between is never used
        start = self._ledger.open_partition(topic, partition, self._source.beginning(), topic_id)
        self._epoch, self._origin = start.epoch, replace(self._origin, incarnation=start.incarnation)
        self._source.seek(start.next_offset)
        self._note(state=State.RUNNING, note="", epoch=start.epoch, committed=start.next_offset, read=start.next_offset)

    def _step(self, storing: ThreadPoolExecutor, stop: threading.Event) -> None:
        while self._in_flight and (len(self._in_flight) >= self._limit or self._oldest_is_done()):
            self._settle(stop)
        self._adopt_wanted_plan()
        records = self._poll(stop)
        if records is None:
            self._rest()
            return
        self._heard = time.monotonic()
        reach(Point.POLLED)
        self._slot.hold()
        outcome = self._plan.run(records, self._clock_us())
        reach(Point.TRANSFORMED)
        if too_many := self._rejects.take(records.positions, outcome.rejects):
            self._halt(too_many, records.first, stop)
        batch = outcome.batch(self._origin, self._epoch, (records.first, records.next))
        # Said before the batch can reach Redis: a rebuild of Redis waits until everything up to here is committed.
        self._note(read=batch.next, in_flight=len(self._in_flight) + 1)
        stored = storing.submit(self._store, batch, stop)
        self._in_flight.append(_Sent(batch, stored, int(records.timestamps[-1]) if len(records) else 0))
        self._oldest_since = self._oldest_since or time.monotonic()

    def _adopt_wanted_plan(self) -> None:
        plan = self._wanted_plan
        if plan is not self._plan:
            self._plan, self._origin = plan, replace(self._origin, registry_version=plan.registry_version)
            self._note(registry_version=plan.registry_version)

    def _poll(self, stop: threading.Event) -> Records | None:
        try:
            return self._source.poll(GLANCE_SECONDS if self._in_flight else POLL_SECONDS)
        except RaytideError:
            # What was read may be gone from Kafka by now: a start from the stored offset could not read it again.
            while self._in_flight:
                self._settle(stop)
            raise

    def _halt(self, too_many: TooMany, first: int, stop: threading.Event) -> None:
        """Finish what came before the batch at `first`, and give the partition up to a person."""
        self._drain(stop)
        topic, partition = self._origin.topic, self._origin.partition
        raise Refused(
            f"{too_many.exceeded}, most of them {too_many.reason}, such as offset {too_many.position}. Nothing from offset "
            f"{first} on was stored. Correct the producer or the definitions and run "
            f"`raytide partitions resume {topic} {partition}`; with --allow-rejects N the next N go to quarantine, uncounted",
        )

    def _rest(self) -> None:
        if not self._in_flight:
            self._slot.release()
            self._tell_kafka(at_least_s=0.0)
            self._listen()

    def _listen(self) -> None:
        """Tell "no data" from "no broker", which a poll cannot."""
        if time.monotonic() - self._heard < SILENCE_SECONDS:
            return
        try:
            self._source.check()
            self._source.end()
            self._trouble = ""
        except RetryLater as error:
            self._trouble = str(error)
        self._heard = time.monotonic()

    def _drain(self, stop: threading.Event) -> None:
        while self._in_flight:
            self._settle(stop)
        self._tell_kafka(at_least_s=0.0)
        self._note(state=State.STOPPED)

    def _store(self, batch: Batch, stop: threading.Event) -> Future[None]:
        if batch.rejects.num_rows and batch.first not in self._lettered:
            self._patiently(stop)(self._dead_letters.send, batch)
            self._lettered.add(batch.first)
        # Redis before DuckDB: newest-wins makes a replay harmless, the other order would skip updates after a crash.
        rows = online_rows(batch.rows, self._plan.online)
        if rows.num_rows:
            self._patiently(stop)(self._online.write, newest(rows))
            self._meter.readable(rows, self._clock_us())
            reach(Point.ONLINE)
        return self._ledger.submit(batch)

    def _patiently(self, stop: threading.Event) -> Retrying:
        def say(state: RetryCallState) -> None:
            self._trouble = str(state.outcome.exception()) if state.outcome else ""

        return Retrying(
            retry=retry_if_exception_type(RetryLater),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_when_event_set(stop),
            before_sleep=say,
            reraise=True,
        )

    def _oldest_is_done(self) -> bool:
        stored = self._in_flight[0].stored
        return stored.done() and (stored.exception() is not None or stored.result().done())

    def _settle(self, stop: threading.Event) -> None:
        """Wait until the oldest batch is durable."""
        batch, stored, record_time = self._in_flight[0]
        try:
            stored.result().result()
        except (RetryLater, Gap):
            # A writer that restarted may have seen this batch before its predecessor. Now that it is the oldest, a
            # second Gap means that the ledger really is elsewhere.
            self._patiently(stop)(lambda: self._store(batch, stop).result())
        reach(Point.ANSWERED)
        self._in_flight.popleft()
        self._lettered.discard(batch.first)
        self._oldest_since = time.monotonic() if self._in_flight else None
        self._trouble = ""
        self._meter.durable(batch)
        self._note(
            committed=batch.next,
            record_time=record_time or self._progress.record_time,
            in_flight=len(self._in_flight),
            events=self._progress.events + batch.events,
            rejected=self._progress.rejected + batch.rejects.num_rows,
        )
        self._tell_kafka(at_least_s=TELL_KAFKA_SECONDS)

    def _tell_kafka(self, at_least_s: float) -> None:
        at, told = self._told_kafka
        if self._progress.committed > told and time.monotonic() - at >= at_least_s:
            self._source.commit(self._progress.committed)
            self._told_kafka = (time.monotonic(), self._progress.committed)

    def _note(self, **changes: object) -> None:
        self._progress = replace(self._progress, **changes)  # type: ignore[arg-type] # names are Progress's own fields
