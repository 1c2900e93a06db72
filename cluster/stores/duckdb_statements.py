"""The three ways in which the writer talks to a DuckDB cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

Cursor: TypeAlias = duckdb.DuckDBPyConnection


def run(cursor: Cursor, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Execute and fetch everything; an open result would own the cursor."""
    rows: list[tuple[Any, ...]] = cursor.execute(statement, list(parameters)).fetchall()
    return rows


def insert(cursor: Cursor, table: str, rows: pa.Table) -> None:
    """Append Arrow rows to `table` by column name, within the transaction that is open."""
    with incoming(cursor, rows):
        run(cursor, f"INSERT INTO {table} BY NAME SELECT * FROM incoming")  # noqa: S608 - our own table names


@contextmanager
def incoming(cursor: Cursor, rows: pa.Table) -> Iterator[None]:
    """Let statements read `rows` as the table `incoming`.

    After an error the transaction's rollback removes it: DuckDB would refuse to unregister in an aborted transaction.
    """
    cursor.register("incoming", rows)
    yield
    cursor.unregister("incoming")


@contextmanager
def transaction(cursor: Cursor) -> Iterator[None]:
    """Commit what is done inside, or roll it back."""
    run(cursor, "BEGIN")
    try:
        yield
        run(cursor, "COMMIT")
    except BaseException:
        rollback(cursor)
        raise


def rollback(cursor: Cursor) -> None:
    """End the transaction, if the error has not ended it already."""
    with suppress(duckdb.Error):
        run(cursor, "ROLLBACK")
