"""Reads of the DuckDB file: each on a cursor of its own, in a read-only transaction, few at once, bounded in time and rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from cluster.config import OfflineStoreConfig
from cluster.errors import Misconfigured, RaytideError, Refused, RetryLater
from cluster.stores import duckdb_guard
from cluster.stores.duckdb_errors import FATAL, TRANSIENT

#: Values for `?` in order, or for `$name` by name.
Parameters = Sequence[Any] | Mapping[str, Any]

#: Result rows of a user's statement may not take more memory than this, however few they are.
MAX_RESULT_BYTES = 256 * 1024 * 1024

_ROWS_AT_ONCE = 65_536
# An interrupt between two steps of a read is lost, so it is repeated until the read ends.
_INTERRUPT_EVERY_S = 0.05
# How DuckDB's errors that may pass begin, where an Arrow reader has only their text.
_TRANSIENT_TEXTS = ("IO Error", "Out of Memory Error", "INTERRUPT Error", "Internal Error", "FATAL Error")
_SAFE = {"enable_external_access": False, "python_enable_replacements": False}


class Database(Protocol):
    """What `DuckReads` needs of a `DuckDatabase`."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own for one thread; the caller closes it."""


class Snapshot:
    """One moment of the database, and the tables that were registered for it. Caller: one thread."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

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

    A read that takes longer than `read_timeout_s` is stopped and raises Refused; one that waits as long for its turn
    raises RetryLater. Raise Misconfigured for a database whose statements could reach files.
    """

    def __init__(self, database: Database, config: OfflineStoreConfig) -> None:
        self._database = database
        self._config = config
        self._turns = threading.BoundedSemaphore(config.concurrent_reads)
        with self.snapshot() as snapshot:
            for name, value in _SAFE.items():
                [found] = snapshot.query(f"SELECT current_setting('{name}') AS value")["value"].to_pylist()
                if found is not value:
                    raise Misconfigured(f"DuckDB's {name} is {found}: open the database with {value}, reads rely on it")

    @contextmanager
    def snapshot(self, tables: Mapping[str, pa.Table] | None = None) -> Iterator[Snapshot]:
        """Give several queries the same moment of the database, and `tables` under their names.

        The whole block counts as one read, for the turn and for the time. Inside, only DuckDB's errors are translated.
        """
        with self._turn(), self._cursor() as cursor, _time_limit(cursor, self._config.read_timeout_s) as ended:
            try:
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                for name, table in (tables or {}).items():
                    cursor.register(name, table)
                yield Snapshot(cursor)
            except (duckdb.Error, OSError) as error:  # an Arrow reader reports DuckDB's errors as OSError
                if ended.is_set():
                    raise self._too_long() from None
                raise _translated(error) from error

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
    def _turn(self) -> Iterator[None]:
        limit = self._config.read_timeout_s
        if not self._turns.acquire(timeout=limit):
            raise RetryLater(
                f"all {self._config.concurrent_reads} readers were busy for {limit} s: try again, "
                "or raise offline_store.concurrent_reads",
            )
        try:
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


@contextmanager
def _time_limit(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    done, ended = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            ended.set()
            cursor.interrupt()
            wait = _INTERRUPT_EVERY_S

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


def _translated(error: duckdb.Error | OSError) -> RaytideError:
    first_line = str(error).splitlines()[0]
    if isinstance(error, duckdb.PermissionException):
        return Refused("files, network and settings are out of reach of a read: use the store's tables (SHOW TABLES)")
    if isinstance(error, (*FATAL, *TRANSIENT)) or first_line.startswith(_TRANSIENT_TEXTS):
        return RetryLater(f"the read failed: {first_line}; try again")
    return Refused(f"the query is wrong: {first_line}")
