"""Where the rows of a file wait for its commit: packed, in a file without a name beside the history, gone with its process.

Not in `features`: a transaction that had written there would keep DuckDB from checkpointing until the file's last piece came.
Not in temporary tables, which cost as much as the insert itself, and not in memory, which a file need not fit in (decision
0005).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cluster.errors import Refused, RetryLater
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch
from cluster.stores.duckdb_statements import Cursor, incoming, run

_PACKING = pa.ipc.IpcWriteOptions(compression="lz4")

# Names as plain text: each piece has a dictionary of its own, and one stream of batches can have only one.
_NAMES = ROWS_SCHEMA.get_field_index("feature_name")
_ROWS_AS_KEPT = ROWS_SCHEMA.set(_NAMES, pa.field("feature_name", pa.string(), nullable=False))

_ROWS = "INSERT INTO features BY NAME SELECT *, ?::INTEGER AS source_id FROM incoming"
_REJECTS = """INSERT INTO quarantine BY NAME
    SELECT *, ?::INTEGER AS source_id, make_timestamp(?::BIGINT) AS received_at FROM incoming"""


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where a table lies in the file."""

    offset: int
    size: int
    rows: int


class Stage:
    """What was appended to one file. Callers take turns."""

    def __init__(self, cursor: Cursor, folder: Path) -> None:
        self.cursor = cursor
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it is open as long as this
        except OSError as error:
            raise _no_room(error) from error
        self._end = 0
        self._rows: list[_Kept] = []
        self._rejects: list[_Kept] = []

    def add(self, batch: Batch) -> None:
        """Keep a piece, or nothing of it; raise ArrowInvalid if DuckDB would not take it, RetryLater if the disk is full."""
        _check(batch.rows)
        _check(batch.rejects)
        rows = self._keep(batch.rows.cast(_ROWS_AS_KEPT), self._end)
        rejects = self._keep(batch.rejects, rows.offset + rows.size)
        self._rows.append(rows)
        self._rejects.append(rejects)
        self._end = rejects.offset + rejects.size

    def copy(self, source_id: int, now_us: int) -> None:
        """Put everything into history, in the transaction that is open; nothing is forgotten, so it can be done again.

        Raise Refused when DuckDB says that it stored another number of rows.
        """
        self._copy(_ROWS, _ROWS_AS_KEPT, self._rows, [source_id])
        self._copy(_REJECTS, REJECTS_SCHEMA, self._rejects, [source_id, now_us])

    def close(self) -> None:
        """Forget everything; the disk has its room back."""
        self._file.close()
        self.cursor.close()

    def _keep(self, table: pa.Table, offset: int) -> _Kept:
        if not len(table):
            return _Kept(offset, 0, 0)
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, table.schema, options=_PACKING) as writer:
            writer.write_table(table)
        left = memoryview(packed.getvalue())
        kept = _Kept(offset, len(left), len(table))
        try:
            while left:
                written = os.pwrite(self._file.fileno(), left, offset)
                left, offset = left[written:], offset + written
        except OSError as error:
            raise _no_room(error) from error
        return kept

    def _copy(self, statement: str, schema: pa.Schema, kept: Sequence[_Kept], parameters: list[int]) -> None:
        # Never an INSERT without rows: after one, DuckDB 2.0 with several threads stores a large one of the same transaction
        # with wrong statistics, and filtered reads do not see its rows (tests/unit/test_duckdb_threads.py).
        if not (rows := sum(one.rows for one in kept)):
            return
        with incoming(self.cursor, pa.RecordBatchReader.from_batches(schema, self._batches(kept))):
            [(stored,)] = run(self.cursor, statement, parameters)
        if stored != rows:
            raise Refused(f"DuckDB stored {stored} rows of a file's {rows}: nothing of it is kept, send it again")

    def _batches(self, kept: Sequence[_Kept]) -> Iterator[pa.RecordBatch]:
        for one in kept:
            if one.rows:
                yield from pa.ipc.open_stream(os.pread(self._file.fileno(), one.size, one.offset))


def _check(table: pa.Table) -> None:
    """Raise ArrowInvalid for a table that only the commit would find wrong, with the whole file then."""
    table.validate(full=True)


def _no_room(error: OSError) -> RetryLater:
    return RetryLater(f"the disk of the history does not take a file's rows ({error.strerror}): try again when it has room")
