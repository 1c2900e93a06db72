"""Backfills of one gateway: planned, run under the limiter, stopped; and what an earlier process left half done.

How far each is lives in DuckDB alone. A call that is broken off stops its backfill between two chunks, and so does a gateway
that ends; the same command goes on from there. What is in history and not yet online is brought there by any gateway.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import structlog

from cluster.backfills.drive import Drive, Tools
from cluster.backfills.plan import Asked, Kept, Left, Offsets, Plan, left, plan
from cluster.backfills.publish import publish
from cluster.errors import RaytideError, RetryLater
from cluster.ingest.backfills import Backfill, BackfillState
from cluster.registry.catalog import Catalog

LOOK_SECONDS = 5.0
PAUSE_SECONDS = 1.0

BROKEN_OFF = "the call was broken off"
GATEWAY_ENDED = "its gateway ended"
CANCELLED = "cancelled"
CAME_LATER = "it came after this backfill began: do this again when it is DONE"


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far a backfill is, and what of the range it leaves as it is. A dry run has no state."""

    backfill: Backfill
    left: tuple[Left, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service needs. `offsets` connects to Kafka, for a plan; `holder` is the gateway's name."""

    tools: Tools
    catalog: Callable[[], Catalog]
    offsets: Callable[[], Offsets]
    holder: str


class BackfillService:
    """Caller: any number of threads. Between `start` and `close` it publishes what has to be."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._history = parts, parts.tools.history
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
            stay = self._left(catalog, planned, opened)
            yield BackfillProgress(opened, stay)
            drive = Drive(self._parts.tools, catalog, opened, self._stop)
            for now in drive.run():
                yield BackfillProgress(now, stay)
            note = ""
        except Exception as error:
            note = (
                str(error) if isinstance(error, RaytideError) else f"unexpected {type(error).__name__}, see the gateway's log"
            )
            raise
        finally:
            self._end(opened.backfill_id, BackfillState.STOPPED if note else BackfillState.DONE, note)
        done = self._history.get_backfill(opened.backfill_id)
        yield BackfillProgress(done, (*stay, *self._unread(catalog, done, drive.unread)))

    def cancel(self, backfill_id: str) -> Backfill:
        """Stop a backfill, wherever it runs, after the chunk that it is at; raise NotFound."""
        return self._history.end_backfill(backfill_id, BackfillState.STOPPED, CANCELLED)

    def listed(self, limit: int) -> list[Backfill]:
        """Return backfills, newest first."""
        return self._history.list_backfills(limit)

    def look(self) -> None:
        """Let what a predecessor ran be STOPPED, and bring online what nobody brings."""
        history = self._history
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
            return plan(self._history, Kept(offsets, self._parts.tools.files), catalog, asked, uuid.uuid4().hex[:12])
        finally:
            offsets.close()

    def _left(self, catalog: Catalog, planned: Plan, opened: Backfill) -> tuple[Left, ...]:
        """Return what stays as it is: one that goes on reads no more than it began with."""
        mine = {part.key for part in opened.parts}
        later = {part.upload_id: CAME_LATER for part in planned.backfill.parts if part.key not in mine}
        common = tuple(part for part in planned.backfill.parts if part.key in mine)
        if len(common) == len(planned.backfill.parts):
            return planned.left
        return left(self._history, catalog, replace(planned.backfill, parts=common), {**planned.why, **later})

    def _unread(self, catalog: Catalog, done: Backfill, why: Mapping[str, str]) -> tuple[Left, ...]:
        """Return the records of files that were to be read and could not be."""
        if not why:
            return ()
        read = replace(done, parts=tuple(part for part in done.parts if part.upload_id not in why))
        places = {str(part.key) for part in done.parts if part.upload_id in why}
        return tuple(one for one in left(self._history, catalog, read, why) if one.place in places)

    def _open(self, asked: Backfill) -> Backfill:
        with self._lock:
            opened = self._history.open_backfill(replace(asked, holder=self._parts.holder))
            self._mine.add(opened.backfill_id)
        return opened

    def _end(self, backfill_id: str, state: BackfillState, note: str) -> None:
        try:
            self._history.end_backfill(backfill_id, state, note)
        except RetryLater as error:
            self._log.warning("backfill_end_not_noted", backfill=backfill_id, error=str(error))  # a look does it
        finally:
            self._mine.discard(backfill_id)

    def _publish(self, backfill: Backfill) -> None:
        view = self._parts.catalog().views.get(backfill.view)
        online = self._parts.tools.online if view is not None and view.online else None
        for part in backfill.parts:
            publish(self._history, online, (backfill.backfill_id, part.key), self._pause)

    def _pause(self) -> None:
        if self._stop.wait(PAUSE_SECONDS):
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
