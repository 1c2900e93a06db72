"""Backfills of one gateway: planned, run under the limiter, stopped; and what an earlier process left half done.

How far each is lives in DuckDB alone. A call that is broken off stops its backfill between two chunks, and so does a gateway
that ends; the same command goes on from there. What is in history and not yet online is brought there by any gateway.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from cluster.backfills.plan import Asked, Left, Offsets, Plan, plan
from cluster.backfills.publish import publish
from cluster.backfills.stretch import StretchRunner
from cluster.errors import RaytideError, Refused, RetryLater
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState
from cluster.registry.catalog import Catalog
from cluster.stores.ports import BackfillStore, OnlineStore
from cluster.verify.report import Reads

LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
TELL_SECONDS = 1.0
PARTITIONS_AT_ONCE = 4

BROKEN_OFF = "the call was broken off"
GATEWAY_ENDED = "its gateway ended"
CANCELLED = "cancelled"


class History(BackfillStore, Reads, Protocol):
    """What the service needs of the writer."""


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far a backfill is, and what of the range it leaves as it is. A dry run has no state."""

    backfill: Backfill
    left: tuple[Left, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service needs. `offsets` connects to Kafka, for a plan; `holder` is the gateway's name."""

    history: History
    online: OnlineStore
    catalog: Callable[[], Catalog]
    offsets: Callable[[], Offsets]
    runner: StretchRunner
    holder: str


class BackfillService:
    """Caller: any number of threads. Between `start` and `close` it publishes what has to be."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._mine: set[str] = set()  # that run in this process
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="backfills", daemon=True)
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Look after what is unfinished from now on."""
        self._thread.start()

    def close(self) -> None:
        """End backfills between two chunks, and look no more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def plan(self, asked: Asked) -> Plan:
        """Return what `run` would read, and what it would leave; raise NotFound or Refused naming the argument."""
        return self._plan(asked, self._parts.catalog())

    def try_out(self, asked: Asked) -> Iterator[BackfillProgress]:
        """Yield what `run` would begin with now, and store nothing."""
        planned = self.plan(asked)
        yield BackfillProgress(planned.backfill, planned.left, dry_run=True)

    def run(self, asked: Asked) -> Generator[BackfillProgress, None, None]:
        """Start a backfill, or go on with the unfinished one that asks for the same; yield how far it is.

        Closing the iterator stops it. Raise Refused when it runs already, RetryLater when a store stays away or the gateway
        stops; what was done until then stays, and the same call goes on from there.
        """
        catalog = self._parts.catalog()
        planned = self._plan(asked, catalog)
        opened, note = self._open(planned.backfill), BROKEN_OFF
        try:
            yield BackfillProgress(opened, planned.left)
            for now in self._drive(catalog, opened):
                yield BackfillProgress(now, planned.left)
            note = ""
        except Exception as error:
            note = (
                str(error) if isinstance(error, RaytideError) else f"unexpected {type(error).__name__}, see the gateway's log"
            )
            raise
        finally:
            self._end(opened.backfill_id, BackfillState.STOPPED if note else BackfillState.DONE, note)
        yield BackfillProgress(self._parts.history.get_backfill(opened.backfill_id), planned.left)

    def cancel(self, backfill_id: str) -> Backfill:
        """Stop a backfill, wherever it runs, after the chunk that it is at; raise NotFound."""
        return self._parts.history.end_backfill(backfill_id, BackfillState.STOPPED, CANCELLED)

    def listed(self, limit: int) -> list[Backfill]:
        """Return backfills, newest first."""
        return self._parts.history.list_backfills(limit)

    def look(self) -> None:
        """Let what a predecessor ran be STOPPED, and bring online what nobody brings."""
        history = self._parts.history
        with self._lock:
            running = [b for b in history.list_backfills() if b.state is BackfillState.RUNNING]
            for left in (b for b in running if b.holder == self._parts.holder and b.backfill_id not in self._mine):
                history.end_backfill(left.backfill_id, BackfillState.STOPPED, GATEWAY_ENDED)
        for unpublished in history.unpublished_backfills():
            if unpublished.state is not BackfillState.RUNNING:
                self._publish(unpublished)

    def _plan(self, asked: Asked, catalog: Catalog) -> Plan:
        offsets = self._parts.offsets()
        try:
            return plan(self._parts.history, offsets, catalog, asked, uuid.uuid4().hex[:12])
        finally:
            offsets.close()

    def _open(self, asked: Backfill) -> Backfill:
        with self._lock:
            opened = self._parts.history.open_backfill(replace(asked, holder=self._parts.holder))
            self._mine.add(opened.backfill_id)
        return opened

    def _end(self, backfill_id: str, state: BackfillState, note: str) -> None:
        try:
            self._parts.history.end_backfill(backfill_id, state, note)
        except RetryLater as error:
            self._log.warning("backfill_end_not_noted", backfill=backfill_id, error=str(error))  # a look does it
        finally:
            self._mine.discard(backfill_id)

    def _drive(self, catalog: Catalog, opened: Backfill) -> Iterator[Backfill]:
        """Take all parts to their ends, each in a thread; yield once a second."""
        ended = threading.Event()
        pool = ThreadPoolExecutor(PARTITIONS_AT_ONCE, thread_name_prefix="backfill")
        try:
            running = [pool.submit(self._take_to_its_end, catalog, opened, part, ended) for part in opened.parts]
            while not _all_done(running):
                yield self._patiently(ended)(self._parts.history.get_backfill, opened.backfill_id)
            self._check_stop()  # which ends the threads early
        finally:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _take_to_its_end(self, catalog: Catalog, opened: Backfill, part: BackfillPart, ended: threading.Event) -> None:
        while not (ended.is_set() or self._stop.is_set()):
            now = self._patiently(ended)(self._parts.history.get_backfill, opened.backfill_id)
            mine = now.part(*part.key)
            if now.state is not BackfillState.RUNNING or mine.published >= mine.end:
                return
            try:
                self._patiently(ended)(self._parts.runner.run, catalog, now, *part.key)
            except Refused:  # also what a chunk hears when somebody stopped its backfill meanwhile
                if self._parts.history.get_backfill(opened.backfill_id).state is BackfillState.RUNNING:
                    raise

    def _publish(self, backfill: Backfill) -> None:
        view = self._parts.catalog().views.get(backfill.view)
        online = self._parts.online if view is not None and view.online else None
        for part in backfill.parts:
            publish(self._parts.history, online, (backfill.backfill_id, *part.key), self._pause)

    def _pause(self) -> None:
        if self._stop.wait(TELL_SECONDS):
            raise RetryLater("the gateway is stopping")

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except RaytideError as error:
                self._log.warning("backfills_not_published", error=str(error))
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("backfills_not_published")
            self._stop.wait(LOOK_SECONDS)

    def _patiently(self, ended: threading.Event) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(RetryLater),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_any(stop_after_delay(PATIENCE_SECONDS), stop_when_event_set(ended), stop_when_event_set(self._stop)),
            sleep=sleep_using_event(ended),
            reraise=True,
        )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RetryLater("the gateway is stopping: the same command goes on when it is back")


def _all_done(running: Sequence[Future[None]]) -> bool:
    """Wait a moment; raise the first error."""
    done, left = wait(running, TELL_SECONDS, return_when="FIRST_EXCEPTION")
    for future in done:
        future.result()
    return not left
