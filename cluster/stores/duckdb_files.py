"""A file is one transaction, on its own cursor, so that it never stalls the streams (decision 0005)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from cluster.errors import Refused
from cluster.faults import Point, reach
from cluster.ingest.ledger import check_batch
from cluster.records import Batch, Origin
from cluster.stores.duckdb_rows import LedgerRow, insert_ledger
from cluster.stores.duckdb_sources import SourceIds
from cluster.stores.duckdb_staging import Stage
from cluster.stores.duckdb_statements import Cursor, run, transaction
from cluster.stores.duckdb_uploads import UploadTable
from cluster.stores.ports import Upload, UploadState
from cluster.stores.upload_rules import AFTER_COMMIT, check_complete, check_move, no_transaction, other_origin

SET_COMMITTED = """
    UPDATE uploads SET state = 'COMMITTED', "rows" = ?, rejected = ?, error = '', updated_at = make_timestamp(?::BIGINT)
    WHERE upload_id = ?"""


@dataclass(frozen=True, slots=True)
class Piece:
    """The positions that a piece accounts for, and its counts."""

    first: int
    next: int
    events: int
    rows: int
    rejected: int


@dataclass(slots=True)
class _File:
    stage: Stage
    origin: Origin
    pieces: dict[int, Piece] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False


class UploadFiles:
    """The files that are being put together. Any thread; the pieces of one file take turns.

    An upload is open only while its state is PROCESSING. Nothing else changes its row in `uploads` meanwhile: DuckDB
    would fail the commit.
    """

    def __init__(
        self,
        cursor: Callable[[], Cursor],
        sources: SourceIds,
        table: UploadTable,
        now_us: Callable[[], int],
        folder: Path,
    ) -> None:
        self._cursor, self._sources, self._table = cursor, sources, table
        self._now_us, self._folder = now_us, folder
        self._open: dict[str, _File] = {}
        self._lock = threading.Lock()
        self._moves = threading.Lock()  # one change of state at a time; pieces are appended meanwhile

    @property
    def is_busy(self) -> bool:
        """Answer whether a file is being put together."""
        return bool(self._open)

    def set_state(self, upload_id: str, state: UploadState, error: str) -> Upload:
        """Move an upload. Leaving PROCESSING drops what was appended; while it is open, PROCESSING changes nothing."""
        with self._moves:
            check_move(self._table.get(upload_id), state)
            if state is not UploadState.PROCESSING:
                self.abort(upload_id)
            elif upload_id in self._open:
                return self._table.get(upload_id)
            return self._table.set_state(upload_id, state, error)

    def open(self, upload_id: str, origin: Origin) -> None:
        """Start to put a file together, in state PROCESSING; what was appended to it earlier is gone."""
        with self._moves:
            self.abort(upload_id)
            self._table.set_state(upload_id, UploadState.PROCESSING, "")
            opened = _File(Stage(self._cursor(), self._folder), origin)
            with self._lock:
                self._open[upload_id] = opened

    def append(self, upload_id: str, piece: int, batch: Batch) -> None:
        """Add a piece whole, or nothing of it; one that is already there is skipped."""
        check_batch(batch)
        opened = self._find(upload_id)
        with opened.lock:
            if opened.over:
                raise no_transaction(upload_id)
            if batch.origin != opened.origin:
                raise other_origin(upload_id)
            if piece not in opened.pieces:
                try:
                    opened.stage.add(batch)
                except pa.ArrowInvalid as error:
                    raise Refused(f"piece {piece} of upload {upload_id} has rows that DuckDB cannot take: {error}") from error
                counts = batch.events, batch.rows.num_rows, batch.rejects.num_rows
                opened.pieces[piece] = Piece(batch.first, batch.next, *counts)

    def commit(self, upload_id: str, pieces: int) -> Upload:
        """Make the file durable with its ledger row and its state; again once it is, return the same."""
        with self._lock:
            opened = self._open.get(upload_id)
        if opened is not None:
            with opened.lock:
                if not opened.over:
                    check_complete(upload_id, [(p.first, p.next) for p in opened.pieces.values()], pieces)
                    self._write(upload_id, opened)
                    self._forget(upload_id, opened)
        upload = self._table.get(upload_id)
        if upload.state not in AFTER_COMMIT:
            raise no_transaction(upload_id)
        return upload

    def abort(self, upload_id: str) -> None:
        """Forget what was appended, if anything."""
        with self._lock:
            opened = self._open.pop(upload_id, None)
        if opened is not None:
            with opened.lock:
                _end(opened)

    def close(self) -> None:
        """Forget all files that are open."""
        for upload_id in list(self._open):
            self.abort(upload_id)

    def _find(self, upload_id: str) -> _File:
        with self._lock:
            opened = self._open.get(upload_id)
        if opened is None:
            self._table.get(upload_id)
            raise no_transaction(upload_id)
        return opened

    def _write(self, upload_id: str, opened: _File) -> None:
        """Copy the file into history in one transaction; after an error it can be tried again."""
        cursor, now_us = opened.stage.cursor, self._now_us()
        with transaction(cursor):
            ids = self._sources.assign(cursor, [opened.origin], now_us)
            source_id = ids[opened.origin]
            opened.stage.copy(source_id, now_us)
            reach(Point.FILE_IN_TRANSACTION)
            total = file_row(opened.pieces.values(), source_id)
            insert_ledger(cursor, [total], now_us)
            run(cursor, SET_COMMITTED, [total.events, total.rejected, now_us, upload_id])
        reach(Point.FILE_COMMITTED)
        self._sources.confirm(ids)

    def _forget(self, upload_id: str, opened: _File) -> None:
        """Let go of a file whose lock is held."""
        with self._lock:
            if self._open.get(upload_id) is opened:
                del self._open[upload_id]
        _end(opened)


def _end(opened: _File) -> None:
    """Drop what was appended; with the file's lock held."""
    opened.over = True
    with suppress(duckdb.Error):
        opened.stage.close()


def file_row(pieces: Collection[Piece], source_id: int) -> LedgerRow:
    """Return the ledger row of a whole file: its records from 0 on, under epoch 0."""
    events, rows, rejected = (sum(getattr(p, name) for p in pieces) for name in ("events", "rows", "rejected"))
    return LedgerRow(source_id, 0, events + rejected, events, rows, rejected, epoch=0)
