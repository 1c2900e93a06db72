"""Where the rows of a file wait for its commit: in memory as they came, beyond a bound in DuckDB's temporary tables.

Not in `features`: a transaction that had written there would keep DuckDB from checkpointing until the file's last piece came.
And in temporary tables only when it must be, because what waits there is written twice (decision 0005).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cluster.errors import Refused
from cluster.records import Batch
from cluster.stores.duckdb_statements import Cursor, incoming, insert, run, transaction

_TABLES = (
    "CREATE OR REPLACE TEMP TABLE file_rows AS SELECT * EXCLUDE (source_id) FROM features LIMIT 0",
    """CREATE OR REPLACE TEMP TABLE file_rejects AS
        SELECT * EXCLUDE (source_id, received_at, replayed_at) FROM quarantine LIMIT 0""",
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
    _spilt: dict[str, int] = field(default_factory=dict)  # rows in each temporary table

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
        """Put everything into history, in the transaction that is open; nothing is forgotten, so it can be done again.

        Raise Refused when DuckDB says that it stored another number of rows.
        """
        self._copy(_ROWS, "file_rows", self._rows, [source_id])
        self._copy(_REJECTS, "file_rejects", self._rejects, [source_id, now_us])

    def _copy(self, statement: str, name: str, kept: list[pa.Table], parameters: list[int]) -> None:
        spilt = self._spilt.get(name, 0)
        in_memory = sum(map(len, kept))
        stored = 0
        # Never an INSERT without rows: after one, DuckDB 2.0 with several threads stores a large one of the same transaction
        # with wrong statistics, and filtered reads do not see its rows (tests/unit/test_duckdb_threads.py).
        if spilt:
            stored += int(run(self.cursor, statement.format(waiting=f"temp.{name}"), parameters)[0][0])
        if in_memory:
            with incoming(self.cursor, pa.concat_tables(kept)):
                stored += int(run(self.cursor, statement.format(waiting="incoming"), parameters)[0][0])
        if stored != spilt + in_memory:
            raise Refused(f"DuckDB stored {stored} rows of a file's {spilt + in_memory}: nothing of it is kept, send it again")

    def close(self) -> None:
        """Drop everything; the temporary tables go with the cursor."""
        self._forget()
        self.cursor.close()
        pa.default_memory_pool().release_unused()  # it would keep the memory of the largest file for the next one

    def _spill(self, rows: list[pa.Table], rejects: list[pa.Table]) -> None:
        """Move what waits in memory, and what has no place there, to the temporary tables."""
        if not self._spilt:
            # Not in the transaction: of a table that was made in the transaction of its first rows, DuckDB 2.0 reads none
            # later when it scans with several threads (tests/unit/test_duckdb_threads.py).
            for statement in _TABLES:
                run(self.cursor, statement)
        found = {"file_rows": pa.concat_tables(rows), "file_rejects": pa.concat_tables(rejects)}
        with transaction(self.cursor):
            for name, table in found.items():
                if len(table):
                    insert(self.cursor, f"temp.{name}", table)
        self._spilt = {name: self._spilt.get(name, 0) + len(table) for name, table in found.items()}

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
