"""What windows rely on of DuckDB: rows of the ledger are numbered in the order in which they can be seen."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.config import OfflineStoreConfig
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_statements import Cursor, incoming, run, transaction

WRITERS, COMMITS = 3, 30
_SEEN = "SELECT rowid, source_id FROM batches WHERE rowid > ? ORDER BY rowid"


def commit(cursor: Cursor, number: int, rows: int) -> None:
    table = pa.table({"entity_id": np.char.mod("e%d", np.arange(rows)), "value": np.random.default_rng(number).random(rows)})
    with transaction(cursor):
        with incoming(cursor, table):
            run(cursor, "INSERT INTO features BY NAME SELECT * FROM incoming")
        run(cursor, "INSERT INTO batches (source_id) VALUES (?)", [number])


def test_whoever_asks_for_what_came_after_a_row_misses_nothing_and_sees_nothing_twice(tmp_path: Path) -> None:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path / "f.duckdb")))

    def write(writer: int) -> None:
        with database.cursor() as cursor:
            for n in range(COMMITS):
                # Some so large that DuckDB writes their rows to the file before they are committed.
                commit(cursor, writer * COMMITS + n, 200_000 if writer == 0 and n % 15 == 0 else 10)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in writers:
        thread.start()
    seen: list[tuple[int, int]] = []
    with database.cursor() as cursor:
        while any(thread.is_alive() for thread in writers):
            seen += run(cursor, _SEEN, [seen[-1][0] if seen else -1])
        seen += run(cursor, _SEEN, [seen[-1][0] if seen else -1])
    assert sorted(number for _, number in seen) == list(range(WRITERS * COMMITS))
    database.close()

    again = DuckDatabase(OfflineStoreConfig(path=str(tmp_path / "f.duckdb")))
    with again.cursor() as cursor:
        assert run(cursor, _SEEN, [-1]) == seen, "another process knows the same numbers"
        commit(cursor, 999, 1)
        assert run(cursor, _SEEN, [seen[-1][0]]) == [(len(seen), 999)]
    again.close()
