"""Where the rows of a file wait for its commit: in memory as they came, beyond a bound in DuckDB's temporary tables.

Not in `features`: a transaction that had written there would keep DuckDB from checkpointing until the file's last piece came.
And in temporary tables only when it must be, because what waits there is written twice (decision 0005).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cluster.records import Batch
from cluster.stores.duckdb_statements import Cursor, incoming, insert, run, transaction

_TABLES = (
    "CREATE TEMP TABLE file_rows AS SELECT * EXCLUDE (source_id) FROM features LIMIT 0",
    "CREATE TEMP TABLE file_rejects AS SELECT * EXCLUDE (source_id, received_at, replayed_at) FROM quarantine LIMIT 0",
)
_ROWS = "INSERT INTO features BY NAME SELECT *, ?::INTEGER AS source_id FROM {waiting}"
_REJECTS = """INSERT INTO quarantine BY NAME
    SELECT *, ?::INTEGER AS source_id, make_timestamp(?::BIGINT) AS received_at FROM {waiting}"""


class Room:
    """Bytes that the files of one writer may keep in memory together. Any thread."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take room; return False, and take none, when there is not enough."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        with self._lock:
            self._left += size


@dataclass(slots=True)
class Stage:
    """What was appended to one file. Callers take turns; nothing is left in `room` after `close`."""

    cursor: Cursor
    room: Room
    _rows: list[pa.Table] = field(default_factory=list)
    _rejects: list[pa.Table] = field(default_factory=list)
    _taken: int = 0
    _spilt: bool = False

    def add(self, batch: Batch) -> None:
        """Keep a piece; raise ArrowInvalid when DuckDB would not take it, and keep nothing of it."""
        rows, rejects = _checked(batch.rows), _checked(batch.rejects)
        size = rows.nbytes + rejects.nbytes
        if self.room.take(size):
            self._taken += size
            self._rows.append(_own(rows))
            self._rejects.append(_own(rejects))
        else:
            self._spill([*self._rows, rows], [*self._rejects, rejects])
            self._forget()

    def copy(self, source_id: int, now_us: int) -> None:
        """Put everything into history, in the transaction that is open; nothing is forgotten, so it can be done again."""
        if self._spilt:
            run(self.cursor, _ROWS.format(waiting="temp.file_rows"), [source_id])
            run(self.cursor, _REJECTS.format(waiting="temp.file_rejects"), [source_id, now_us])
        if any(len(table) for table in self._rows):
            with incoming(self.cursor, pa.concat_tables(self._rows)):
                run(self.cursor, _ROWS.format(waiting="incoming"), [source_id])
        if any(len(table) for table in self._rejects):
            with incoming(self.cursor, pa.concat_tables(self._rejects)):
                run(self.cursor, _REJECTS.format(waiting="incoming"), [source_id, now_us])

    def close(self) -> None:
        """Drop everything; the temporary tables go with the cursor."""
        self._forget()
        self.cursor.close()
        pa.default_memory_pool().release_unused()  # it would keep the memory of the largest file for the next one

    def _spill(self, rows: list[pa.Table], rejects: list[pa.Table]) -> None:
        """Move what waits in memory, and what has no place there, to the temporary tables."""
        with transaction(self.cursor):
            if not self._spilt:
                for statement in _TABLES:
                    run(self.cursor, statement)
            insert(self.cursor, "temp.file_rows", pa.concat_tables(rows))
            insert(self.cursor, "temp.file_rejects", pa.concat_tables(rejects))
        self._spilt = True

    def _forget(self) -> None:
        self._rows.clear()
        self._rejects.clear()
        self.room.give_back(self._taken)
        self._taken = 0


def _checked(table: pa.Table) -> pa.Table:
    """Return the table; raise ArrowInvalid for one that only the commit would find wrong, with the whole file then."""
    table.validate(full=True)
    return table


def _own(table: pa.Table) -> pa.Table:
    """Return a copy in memory of this process: what came is Ray's, which has to have its memory back for the next piece."""
    counted = pa.MockOutputStream()
    _write(table, counted)
    copy = pa.allocate_buffer(counted.size())
    _write(table, pa.FixedSizeBufferWriter(copy))
    return pa.ipc.open_stream(copy).read_all()


def _write(table: pa.Table, sink: Any) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
