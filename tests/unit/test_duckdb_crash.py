from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import pytest

from cluster.config import OfflineStoreConfig
from cluster.records import Origin
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_statements import Cursor, run
from cluster.stores.ports import Upload, UploadState
from tests.batches import make_batch, stream_batch

ROOT = Path(__file__).parents[2]
ROUNDS = 3


def write_until_killed(path: str) -> None:
    """Commit small batches of two partitions and files of two pieces, for ever; print what was acknowledged."""
    store = DuckStore(OfflineStoreConfig(path=path, group_commit_ms=1))
    cursor = store.database.cursor()
    cursor.execute("SET GLOBAL wal_autocheckpoint = '100KB'").fetchall()  # so that checkpoints are hit as well
    starts = [store.open_partition("events", partition, 0) for partition in (0, 1)]
    following = [start.next_offset for start in starts]
    flight: deque[tuple[str, Future[None]]] = deque()
    for turn in range(10**6):
        for partition, start in enumerate(starts):
            first = following[partition]
            following[partition] += 20
            batch = stream_batch(start.epoch, first, first + 20, partition=partition, rejected=[first])
            flight.append((f"stream {partition} {first} {first + 20}", store.submit(batch)))
        if turn % 5 == 0:
            say(write_file(store, f"{os.getpid()}-{turn}"))
        while len(flight) > 6:
            text, future = flight.popleft()
            future.result()
            say(text)


def write_file(store: DuckStore, upload_id: str) -> str:
    store.begin_upload(Upload(upload_id, upload_id, "f.csv", "s", "csv", "aa", 1, UploadState.RECEIVING))
    origin = Origin.upload(upload_id, 1)
    store.open_upload(upload_id, origin)
    for piece in (1, 0):
        store.append_upload(upload_id, piece, make_batch(origin, 0, (piece * 10, piece * 10 + 10)))
    store.commit_upload(upload_id, 2)
    return f"file {upload_id}"


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


@pytest.mark.parametrize("seed", [random.randrange(10**6)])
def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    chance, path = random.Random(seed), tmp_path / "features.duckdb"
    acknowledged = [line for _ in range(ROUNDS) for line in run_and_kill(path, chance.randrange(1, 40))]
    store = DuckStore(OfflineStoreConfig(path=str(path)))
    cursor = store.database.cursor()
    try:
        for partition in (0, 1):
            check_partition(cursor, partition, acknowledged)
        check_files(cursor, acknowledged)
        [(rows, distinct)] = run(cursor, "SELECT count(*), count(DISTINCT (source_id, position, feature_name)) FROM features")
        assert rows == distinct
    finally:
        cursor.close()
        store.close()


def run_and_kill(path: Path, acknowledgements: int) -> list[str]:
    """Let a writer acknowledge so many, kill it in the middle of what it does then, return all that it acknowledged."""
    command = [sys.executable, "-c", f"from tests.unit.test_duckdb_crash import *; write_until_killed({str(path)!r})"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(acknowledgements)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
    assert "" not in lines, "the writer ended by itself"
    return [line.strip() for line in lines]


def check_partition(cursor: Cursor, partition: int, acknowledged: list[str]) -> None:
    ranges = run(
        cursor,
        f"""SELECT first_position, next_position, "rows", rejected FROM batches JOIN sources USING (source_id)
            WHERE topic = 'events' AND "partition" = {partition} ORDER BY first_position""",
    )
    [(following,)] = run(cursor, f'SELECT next_offset FROM partitions WHERE "partition" = {partition}')
    assert [0, *(r[1] for r in ranges)] == [*(r[0] for r in ranges), following]
    positions = run(
        cursor,
        f"""SELECT position FROM (SELECT source_id, position FROM features UNION ALL SELECT source_id, position FROM quarantine)
            JOIN sources USING (source_id) WHERE topic = 'events' AND "partition" = {partition} ORDER BY position""",
    )
    assert positions == [(p,) for p in range(following)]
    stored = {f"stream {partition} {first} {after}" for first, after, *_ in ranges}
    assert {line for line in acknowledged if line.startswith(f"stream {partition} ")} <= stored


def check_files(cursor: Cursor, acknowledged: list[str]) -> None:
    stored = run(
        cursor,
        """SELECT upload_id, count(*) FROM features JOIN sources USING (source_id)
           WHERE kind = 'upload' GROUP BY upload_id""",
    )
    assert {count for _, count in stored} <= {20}
    states = run(cursor, "SELECT upload_id FROM uploads WHERE state = 'COMMITTED'")
    ledger = run(cursor, "SELECT upload_id FROM batches JOIN sources USING (source_id) WHERE kind = 'upload' AND epoch = 0")
    assert sorted(states) == sorted(ledger) == sorted((upload_id,) for upload_id, _ in stored)
    assert {line for line in acknowledged if line.startswith("file ")} <= {f"file {upload_id}" for upload_id, _ in stored}
