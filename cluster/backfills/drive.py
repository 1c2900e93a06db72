"""One backfill on its way: all shares to their ends, each in a thread, for as long as somebody follows."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
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

from cluster.backfills.plan import Files
from cluster.backfills.share import Ports, Share
from cluster.backfills.stretch import StretchRunner
from cluster.errors import BadFile, NotFound, Refused, RetryLater
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState, PartKey
from cluster.ingest.files.piece import Piece
from cluster.registry.catalog import Catalog
from cluster.stores.ports import BackfillStore, OnlineStore, Upload
from cluster.verify.report import Reads

PATIENCE_SECONDS = 60.0
TELL_SECONDS = 1.0
SHARES_AT_ONCE = 4
FEWER_ROWS = "its kept file has fewer rows than came in: upload it again as a corrected file"


class History(BackfillStore, Reads, Protocol):
    """What a backfill needs of the writer."""

    def get_upload(self, upload_id: str) -> Upload:
        """See OfflineStore."""


class StoredFiles(Files, Protocol):
    """Files of uploads, for reading."""

    def pieces(self, catalog: Catalog, upload: Upload) -> Iterator[Piece]:
        """Return a file's pieces from its start; raise NotFound when it is gone, BadFile when it cannot be read any more."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What driving needs."""

    history: History
    online: OnlineStore
    files: StoredFiles
    runner: StretchRunner


class Drive:
    """Caller: the service. `stop` ends it early, and so does closing `run`."""

    def __init__(self, tools: Tools, catalog: Catalog, opened: Backfill, stop: threading.Event) -> None:
        self._tools, self._catalog, self._opened, self._stop = tools, catalog, opened, stop
        self._ended = threading.Event()
        self.unread: dict[str, str] = {}  # uploads whose files could not be read to the end, and why
        self._log = structlog.get_logger().bind(backfill=opened.backfill_id)

    def run(self) -> Iterator[Backfill]:
        """Yield how far it is, once a second; raise what a share raised."""
        pool = ThreadPoolExecutor(SHARES_AT_ONCE, thread_name_prefix="backfill")
        try:
            running = [pool.submit(self._take_to_its_end, part) for part in self._opened.parts]
            while not _all_done(running):
                yield self._now()
            self._check_stop()  # which ends the threads early
        finally:
            self._ended.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _take_to_its_end(self, part: BackfillPart) -> None:
        step = self._read_file if part.upload_id else self._read_for_a_while
        while not self._is_over():
            now = self._now()
            mine = now.part(part.key)
            if now.state is not BackfillState.RUNNING or mine.published >= mine.end:
                return
            try:
                step(now, part.key)
            except Refused:  # also what a chunk hears when somebody stopped its backfill meanwhile
                if self._tools.history.get_backfill(now.backfill_id).state is BackfillState.RUNNING:
                    raise

    def _read_for_a_while(self, now: Backfill, key: PartKey) -> None:
        self._patiently()(self._tools.runner.run, self._catalog, now, key)

    def _read_file(self, now: Backfill, key: PartKey) -> None:
        upload = self._patiently()(self._tools.history.get_upload, key.upload_id)
        try:
            with closing(self._pieces(upload)) as pieces:
                for piece in pieces:
                    if self._is_over():
                        return
                    if piece.first_row + piece.rows > now.part(key).next:
                        self._patiently()(self._tools.runner.run_piece, self._catalog, now, upload, piece)
        except _Unreadable as error:
            self._log.warning("file_not_read", upload=upload.upload_id, error=str(error))
            self.unread[upload.upload_id] = str(error)
        self._patiently()(self._pass_over, key)

    def _pieces(self, upload: Upload) -> Generator[Piece, None, None]:
        try:
            yield from self._tools.files.pieces(self._catalog, upload)
        except (BadFile, NotFound) as error:
            raise _Unreadable(str(error)) from error

    def _pass_over(self, key: PartKey) -> None:
        """Leave what could not be read of a file as it is."""
        online = self._tools.online if self._catalog.views[self._opened.view].online else None
        share = Share(Ports(self._tools.history, online), self._opened, key)
        if share.part.next < share.part.end:
            self.unread.setdefault(key.upload_id, FEWER_ROWS)
            share.pass_over(share.part.end)

    def _now(self) -> Backfill:
        now: Backfill = self._patiently()(self._tools.history.get_backfill, self._opened.backfill_id)
        return now

    def _is_over(self) -> bool:
        return self._ended.is_set() or self._stop.is_set()

    def _patiently(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(RetryLater),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_any(
                stop_after_delay(PATIENCE_SECONDS), stop_when_event_set(self._ended), stop_when_event_set(self._stop)
            ),
            sleep=sleep_using_event(self._ended),
            reraise=True,
        )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise RetryLater("the gateway is stopping: the same command goes on when it is back")


class _Unreadable(Exception):
    """Why a kept file cannot be read."""


def _all_done(running: Sequence[Future[None]]) -> bool:
    """Wait a moment; raise the first error."""
    done, waiting = wait(running, TELL_SECONDS, return_when="FIRST_EXCEPTION")
    for future in done:
        future.result()
    return not waiting
