"""Reads of the DuckDB file: each on a cursor of its own, in a read-only transaction, few at once, bounded in time and rows."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from cluster.config import OfflineStoreConfig
from cluster.errors import Busy, Misconfigured, RaytideError, Refused, RetryLater
from cluster.stores import duckdb_guard
from cluster.stores.duckdb_errors import FATAL, TRANSIENT

#: Values for `?` in order, or for `$name` by name.
Parameters = Sequence[Any] | Mapping[str, Any]

#: Result rows of a user's statement may not take more memory than this, however few they are.
MAX_RESULT_BYTES = 256 * 1024 * 1024

_ROWS_AT_ONCE = 65_536
# An interrupt between two steps of a read is lost, so it is repeated until the read ends.
_INTERRUPT_EVERY_S = 0.05
_LOOK_EVERY_S = 0.1
_EARLY_CANCELS = 1_000
_CANCELLED = "the read was cancelled, because its client went away: ask again"
# How DuckDB's errors begin, where an Arrow reader has only their text.
_NO_MEMORY = "Out of Memory Error"
_TRANSIENT_TEXTS = ("IO Error", "INTERRUPT Error", "Internal Error", "FATAL Error")
_SAFE = {"enable_external_access": False, "python_enable_replacements": False}


class Database(Protocol):
    """What `DuckReads` needs of a `DuckDatabase`."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own for one thread; the caller closes it."""


class Snapshot:
    """One moment of the database, and the tables that were registered for it. Caller: one thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def give(self, name: str, table: pa.Table) -> None:
        """Let queries read `table` under this name."""
        self._cursor.register(name, table)

    def query(self, sql: str, parameters: Parameters = (), *, max_rows: int | None = None) -> pa.Table:
        """Return all rows of a query; raise Refused when there are more than `max_rows`."""
        return self.bounded(sql, parameters, max_rows=max_rows, max_bytes=None)

    def bounded(self, sql: str, parameters: Parameters, *, max_rows: int | None, max_bytes: int | None) -> pa.Table:
        """Return all rows of a query; raise Refused as soon as there are more rows or bytes than allowed."""
        values = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
        relation = self._cursor.sql(sql, params=values) if values else self._cursor.sql(sql)
        with relation.to_arrow_reader(_ROWS_AT_ONCE) as reader:
            batches, rows, size = [], 0, 0
            for batch in reader:
                batches.append(batch)
                rows, size = rows + batch.num_rows, size + batch.nbytes
                _check_size(rows, max_rows, "rows")
                _check_size(size, max_bytes, "bytes")
            return pa.Table.from_batches(batches, reader.schema)


class DuckReads:
    """All reads of one process. Any number of threads may call; `concurrent_reads` run, the others wait their turn.

    A read that takes longer than `read_timeout_s` is stopped and raises Refused; one that waits longer than `read_wait_s`
    for its turn raises Busy, as does one for which even the disk beside memory is too little, and one that is cancelled
    RetryLater. Raise Misconfigured for a database whose statements could reach files.
    """

    def __init__(self, database: Database, config: OfflineStoreConfig) -> None:
        self._database = database
        self._config = config
        self._turns = threading.BoundedSemaphore(config.concurrent_reads)
        self._cancels = _Cancels()
        with self.snapshot() as snapshot:
            for name, value in _SAFE.items():
                [found] = snapshot.query(f"SELECT current_setting('{name}') AS value")["value"].to_pylist()
                if found is not value:
                    raise Misconfigured(f"DuckDB's {name} is {found}: open the database with {value}, reads rely on it")

    @contextmanager
    def snapshot(self, tables: Mapping[str, pa.Table] | None = None, read_id: str = "") -> Iterator[Snapshot]:
        """Give several queries the same moment of the database, and `tables` under their names.

        The whole block counts as one read, for the turn and for the time. `read_id` is what `cancel` knows it by. Inside,
        only DuckDB's errors are translated.
        """
        with self._cancels.listening(read_id) as cancelled, self._turn(cancelled), self._cursor() as cursor:
            yield from self._within(cursor, tables or {}, cancelled)

    def cancel(self, read_id: str) -> None:
        """Stop a read, whether it waits, runs or has yet to come; one that ended stays as it was. Any thread."""
        self._cancels.cancel(read_id)

    def _within(
        self, cursor: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table], cancelled: threading.Event
    ) -> Iterator[Snapshot]:
        cursor.execute(f"SET operator_memory_limit = '{self._config.read_memory}'")
        with _time_limit(cursor, self._config.read_timeout_s, cancelled) as ended:
            try:
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                for name, table in tables.items():
                    cursor.register(name, table)
                yield Snapshot(cursor)
            except (duckdb.Error, OSError) as error:  # an Arrow reader reports DuckDB's errors as OSError
                if cancelled.is_set():
                    raise RetryLater(_CANCELLED) from None
                if ended.is_set():
                    raise self._too_long() from None
                raise self._translated(error) from error

    def query(self, sql: str, parameters: Parameters = (), *, max_rows: int | None = None) -> pa.Table:
        """Return the rows of a query of ours; raise Refused when there are more than `max_rows`."""
        with self.snapshot() as snapshot:
            return snapshot.query(sql, parameters, max_rows=max_rows)

    def sql(self, statement: str) -> pa.Table:
        """Return the rows of a user's query; raise Refused for anything but a query, and for too large a result."""
        with self.snapshot() as snapshot:
            duckdb_guard.check(statement, snapshot._cursor)  # noqa: SLF001 - same module's class
            return snapshot.bounded(statement, (), max_rows=self._config.max_result_rows, max_bytes=MAX_RESULT_BYTES)

    @contextmanager
    def _turn(self, cancelled: threading.Event) -> Iterator[None]:
        deadline = time.monotonic() + self._config.read_wait_s
        while not self._turns.acquire(timeout=max(0, min(_LOOK_EVERY_S, deadline - time.monotonic()))):
            if cancelled.is_set():
                raise RetryLater(_CANCELLED)
            if time.monotonic() >= deadline:
                raise Busy(
                    f"all {self._config.concurrent_reads} readers were busy for {self._config.read_wait_s:g} s: try again, "
                    "or raise offline_store.concurrent_reads",
                )
        try:
            if cancelled.is_set():
                raise RetryLater(_CANCELLED)
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _too_long(self) -> Refused:
        return Refused(
            f"the read took longer than {self._config.read_timeout_s} s and was stopped: ask for fewer rows or a shorter "
            "time range, or raise offline_store.read_timeout_s",
        )

    def _translated(self, error: duckdb.Error | OSError) -> RaytideError:
        first_line = str(error).splitlines()[0]
        if isinstance(error, duckdb.OutOfMemoryException) or first_line.startswith(_NO_MEMORY):
            return Busy(
                f"the read needs more memory than DuckDB has left ({first_line}): ask for fewer rows or features, or raise "
                f"offline_store.memory_limit, which is {self._config.memory_limit}",
            )
        if isinstance(error, duckdb.PermissionException):
            return Refused("files, network and settings are out of reach of a read: use the store's tables (SHOW TABLES)")
        if isinstance(error, (*FATAL, *TRANSIENT)) or first_line.startswith(_TRANSIENT_TEXTS):
            return RetryLater(f"the read failed: {first_line}; try again")
        return Refused(f"the query is wrong: {first_line}")


class _Cancels:
    """Reads that may be cancelled, by id. A cancel may come before its read does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: dict[str, threading.Event] = {}
        self._early: deque[str] = deque(maxlen=_EARLY_CANCELS)

    @contextmanager
    def listening(self, read_id: str) -> Iterator[threading.Event]:
        """Give a read the event that says that nobody wants it any more; without an id nobody ever says so."""
        cancelled = threading.Event()
        if not read_id:
            yield cancelled
            return
        with self._lock:
            self._reads[read_id] = cancelled
            if read_id in self._early:
                cancelled.set()
        try:
            yield cancelled
        finally:
            with self._lock:
                del self._reads[read_id]

    def cancel(self, read_id: str) -> None:
        with self._lock:
            if read_id in self._reads:
                self._reads[read_id].set()
            else:
                self._early.append(read_id)


@contextmanager
def _time_limit(cursor: duckdb.DuckDBPyConnection, seconds: float, cancelled: threading.Event) -> Iterator[threading.Event]:
    done, ended = threading.Event(), threading.Event()
    deadline = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(_INTERRUPT_EVERY_S):
            if cancelled.is_set() or time.monotonic() >= deadline:
                ended.set()
                cursor.interrupt()

    watcher = threading.Thread(target=watch, name="read-time-limit", daemon=True)
    watcher.start()
    try:
        yield ended
    finally:
        done.set()
        watcher.join()


def _check_size(found: int, limit: int | None, what: str) -> None:
    if limit is not None and found > limit:
        raise Refused(
            f"the result has more than {limit} {what}: add a WHERE or LIMIT, or aggregate"
            + (" (the limit is offline_store.max_result_rows)" if what == "rows" else ""),
        )
