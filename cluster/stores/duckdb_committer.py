"""Group commit: whatever waits becomes one transaction. One thread writes, any number of threads wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import duckdb
import structlog

from cluster.config import OfflineStoreConfig
from cluster.errors import RaytideError, Refused, RetryLater
from cluster.ingest.ledger import Answer, Ledger, Partition, Ticket, partition_of
from cluster.ingest.resets import Reset
from cluster.monitoring.metrics import COMMIT_ROWS, COMMIT_SECONDS, COMMITS, NO_METRICS, Metrics
from cluster.records import Batch, PartitionStart
from cluster.stores.duckdb_errors import Health
from cluster.stores.duckdb_group import StreamTables

#: Bytes of batches after which a group is closed, so that rejects with large payloads cannot make a huge one.
GROUP_BYTES = 64 * 1024 * 1024

SHUTTING_DOWN = "the writer is shutting down; try again when it is back"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommitterStatus:
    """What the committer says of itself. Counts are since it started; times are µs, None before the first commit."""

    starts: dict[Partition, PartitionStart] = field(default_factory=dict)
    committed_at: dict[Partition, int] = field(default_factory=dict)
    rows: int = 0
    rejected: int = 0
    batches: int = 0
    transactions: int = 0
    last_commit_ms: float | None = None
    waiting_batches: int = 0
    waiting_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a batch waits for the one before it, and who counts transactions."""

    patience_s: float
    metrics: Metrics = NO_METRICS


@dataclass(frozen=True, slots=True, eq=False)
class _Opening:
    what: str
    key: Partition
    take: Callable[[], PartitionStart]
    future: Future[PartitionStart]


class Committer:
    """Owns the stream tables and their ledger. `submit` and `open_partition` may be called by any thread."""

    def __init__(self, tables: StreamTables, health: Health, config: OfflineStoreConfig, terms: Terms) -> None:
        self._tables, self._health, self._config = tables, health, config
        self._ledger, self._metrics = Ledger(tables.recorded, terms.patience_s), terms.metrics
        for key, start in tables.starts().items():
            self._ledger.sync(key, start)
        self._changed = threading.Condition()
        self._inbox: deque[Ticket | _Opening] = deque()
        self._closing = False
        self._resting = True
        self._status = CommitterStatus(starts=self._ledger.starts())
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    @property
    def status(self) -> CommitterStatus:
        """Return what the committer did and what waits."""
        with self._changed:
            return self._status

    def submit(self, batch: Batch) -> Future[None]:
        """Queue a batch; the future ends when it is durable or refused.

        Blocks while `queue_bytes` wait, unless all of them wait for a predecessor: that may be this one.
        """
        ticket = Ticket(batch, time.monotonic(), batch.nbytes, _running())
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(ticket.nbytes) or self._closing or not self._health)
            self._put(ticket)
            self._count_waiting(1, ticket.nbytes)
        return ticket.future

    def open_partition(self, key: Partition, beginning: int, topic_id: str | None) -> PartitionStart:
        """Take a new epoch between two groups; older epochs are refused from then on."""
        take = partial(self._tables.take_epoch, key, beginning, topic_id)
        return self._between_groups(_Opening("opening", key, take, _running()))

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """Move a partition between two groups, under a new epoch."""
        take = partial(self._tables.reset, reset)
        return self._between_groups(_Opening("reset", (reset.topic, reset.partition), take, _running()))

    def close(self) -> None:
        """Commit what can be committed, answer the rest RetryLater, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _between_groups(self, opening: _Opening) -> PartitionStart:
        with self._changed:
            self._put(opening)
        return opening.future.result()

    def _put(self, item: Ticket | _Opening) -> None:
        self._health.check()
        if self._closing:
            raise RetryLater(SHUTTING_DOWN)
        self._inbox.append(item)
        self._resting = False
        self._changed.notify_all()

    def _has_room(self, nbytes: int) -> bool:
        return self._resting or self._status.waiting_bytes + nbytes <= self._config.queue_bytes

    def _count_waiting(self, batches: int, nbytes: int) -> None:
        self._status = replace(
            self._status,
            waiting_batches=self._status.waiting_batches + batches,
            waiting_bytes=self._status.waiting_bytes + nbytes,
        )

    # From here on: the committer's thread.

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:
            self._health.lose(f"the committer stopped: {type(error).__name__}: {error}")
            log.exception("the committer stopped")
        finally:
            # Callers wait on futures: whatever happened, they must hear of it.
            self._fail_waiting()

    def _turn(self) -> bool:
        """Take in what arrived, answer what can be answered, commit a group if it is time. False when all is done."""
        self._wait()
        self._admit_arrivals()
        now = time.monotonic()
        self._answer(self._ledger.settled())
        self._answer(self._ledger.overdue(now))
        group = self._ready()
        if group and (self._closing or self._is_due(group, now)):
            self._commit(group)
        return bool(self._health) and not (self._closing and not group)

    def _wait(self) -> None:
        """Wait for arrivals, for a deadline or for the end of a group's time."""
        group = self._ready()
        deadlines = [t.since + self._config.group_commit_ms / 1000 for t in group]
        if (order := self._ledger.next_deadline()) is not None:
            deadlines.append(order)
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        with self._changed:
            self._resting = not group and not self._inbox
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._inbox or self._closing, timeout)
            self._resting = False

    def _ready(self) -> list[Ticket]:
        return self._ledger.ready(self._config.group_commit_rows, GROUP_BYTES)

    def _is_due(self, group: Sequence[Ticket], now: float) -> bool:
        """Answer whether the group is full, or its first ticket has waited long enough for company."""
        full = sum(t.batch.rows.num_rows for t in group) >= self._config.group_commit_rows
        full = full or sum(t.nbytes for t in group) >= GROUP_BYTES
        return full or now >= min(t.since for t in group) + self._config.group_commit_ms / 1000

    def _admit_arrivals(self) -> None:
        # An item leaves the inbox when it has its answer or is in the ledger: until then `_fail_waiting` finds it here.
        while self._inbox:
            item = self._inbox[0]
            if isinstance(item, Ticket):
                self._answer(self._ledger.offer(item))
            else:
                self._open(item)
            self._inbox.popleft()

    def _open(self, item: _Opening) -> None:
        try:
            with self._health.guard(f"{item.what} of {item.key[0]}[{item.key[1]}]"):
                start = item.take()
        except RaytideError as error:
            item.future.set_exception(error)
            return
        self._ledger.sync(item.key, start)
        self._publish()
        item.future.set_result(start)

    def _commit(self, group: Sequence[Ticket]) -> None:
        began = time.monotonic()
        try:
            now_us = self._tables.write([t.batch for t in group])
        except (duckdb.Error, Refused) as error:
            self._recover(group, error)
            return
        answers, took_s = self._ledger.accept(group), time.monotonic() - began
        self._count_committed(group, now_us, took_s * 1000)
        self._measure(group, took_s)
        self._answer(answers)

    def _recover(self, group: Sequence[Ticket], error: duckdb.Error | Refused) -> None:
        """Read again where the store is, then try each batch alone, so that one bad batch costs only itself."""
        what = f"commit of {len(group)} batch{'es' if len(group) > 1 else ''}"
        cause = self._health.translate(error, what) if isinstance(error, duckdb.Error) else error
        log.warning("a group was rolled back", cause=str(cause), batches=len(group))
        if not self._health:
            return
        self._resync(group)
        if len(group) == 1:
            self._give_up(group[0], cause)
            return
        for ticket in group:
            if self._health and self._ledger.continues(ticket):
                self._commit([ticket])

    def _resync(self, group: Sequence[Ticket]) -> None:
        # A commit that reported an error may have become durable after all: only the store knows.
        starts = self._tables.starts()
        for key in {partition_of(t.batch) for t in group}:
            self._ledger.sync(key, starts[key])
        self._publish()
        self._answer(self._ledger.settled())

    def _give_up(self, ticket: Ticket, cause: RaytideError) -> None:
        if self._ledger.continues(ticket):
            self._ledger.withdraw(ticket)
            self._settle(ticket, cause)

    def _answer(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self._settle(answer.ticket, answer.error)

    def _settle(self, ticket: Ticket, error: RaytideError | None) -> None:
        with self._changed:
            self._count_waiting(-1, -ticket.nbytes)
            self._changed.notify_all()
        if error is None:
            ticket.future.set_result(None)
        else:
            ticket.future.set_exception(error)

    def _publish(self) -> None:
        with self._changed:
            self._status = replace(self._status, starts=self._ledger.starts())

    def _count_committed(self, group: Sequence[Ticket], now_us: int, took_ms: float) -> None:
        with self._changed:
            known = self._status
            self._status = replace(
                known,
                starts=self._ledger.starts(),
                committed_at={**known.committed_at, **{partition_of(t.batch): now_us for t in group}},
                rows=known.rows + sum(t.batch.rows.num_rows for t in group),
                rejected=known.rejected + sum(t.batch.rejects.num_rows for t in group),
                batches=known.batches + len(group),
                transactions=known.transactions + 1,
                last_commit_ms=took_ms,
            )

    def _measure(self, group: Sequence[Ticket], took_s: float) -> None:
        self._metrics.add(COMMITS, 1)
        self._metrics.observe(COMMIT_SECONDS, took_s)
        self._metrics.observe(COMMIT_ROWS, sum(t.batch.rows.num_rows for t in group))

    def _fail_waiting(self) -> None:
        """Answer everything that waits; nothing is taken in any more."""
        error = self._health.loss() or RetryLater(SHUTTING_DOWN)
        with self._changed:
            self._closing = True
            left, waiting = list(self._inbox), self._ledger.waiting()
            self._inbox.clear()
            self._changed.notify_all()
        for ticket in waiting:
            self._ledger.withdraw(ticket)
        for item in (*left, *waiting):
            if isinstance(item, Ticket):
                self._settle(item, error)
            else:
                item.future.set_exception(error)


def _running() -> Future[Any]:
    """Return a future that its holder cannot cancel: the batch may be durable by then."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future
