"""A file through several DuckDB threads: every row is there for every kind of read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.ingest.batch import rejects_table
from cluster.records import ROWS_SCHEMA, Batch, Origin
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.ports import Upload, UploadState
from tests.batches import EPOCH_US, rejected_at, stream_batch

#: More than a row group for each thread: fewer rows are read and written by one thread only.
ROWS = 400_000


def piece(origin: Origin, first: int) -> Batch:
    positions = np.arange(first, first + ROWS)
    times = pa.array(EPOCH_US + positions).cast(pa.timestamp("us"))
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int16)), pa.array(["clicks"]))
    entities = pa.array([f"u{n}" for n in range(1000)]).take(pa.array(positions % 1000))
    values = pa.array(positions.astype(float))
    rows = pa.table([entities, names, values, times, times, pa.array(positions)], schema=ROWS_SCHEMA)
    return Batch(origin, 0, first, first + ROWS, ROWS, rows, rejects_table([]))


def rejected_piece(origin: Origin, first: int) -> Batch:
    span = (first, first + 10)
    rejects = rejects_table([rejected_at(position) for position in range(*span)])
    return Batch(origin, 0, *span, 0, pa.table([[]] * len(ROWS_SCHEMA), schema=ROWS_SCHEMA), rejects)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_file_is_whole(tmp_path: Path, threads: int) -> None:
    store = DuckStore(OfflineStoreConfig(path=str(tmp_path / "f.duckdb"), threads=threads))
    try:
        start = store.open_partition("events", 0, 0)
        store.commit(stream_batch(start.epoch, 0, 1000))  # statistics of what is there already
        store.begin_upload(Upload("up", "k", "f.csv", "s", "csv", "aa", 1, UploadState.RECEIVING))
        store.set_upload_state("up", UploadState.STORED)
        origin = Origin.upload("up", 1)
        store.open_upload("up", origin)
        store.append_upload("up", 0, rejected_piece(origin, 0))
        store.append_upload("up", 1, piece(origin, 10))
        store.append_upload("up", 2, piece(origin, 10 + ROWS))
        upload = store.commit_upload("up", 3)
        reads = DuckReads(store.database, OfflineStoreConfig())
        wanted = "FROM features JOIN sources USING (source_id) WHERE upload_id = 'up'"
        [found] = reads.query(f"SELECT count(*) AS n, count(DISTINCT position) AS d, sum(value) AS s {wanted}").to_pylist()
        newest = sum(len(table) for table in store.upload_newest("up", ["clicks"]))
    finally:
        store.close()
    expected = sum(range(10, 10 + 2 * ROWS))
    assert found == {"n": 2 * ROWS, "d": 2 * ROWS, "s": float(expected)}
    assert (upload.rows, upload.rejected, newest) == (2 * ROWS, 10, 1000)
