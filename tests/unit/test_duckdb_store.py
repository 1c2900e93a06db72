from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Gap, Misconfigured, Refused, RetryLater
from cluster.ingest.backfills import Backfill, BackfillPart
from cluster.ingest.resets import Reset
from cluster.records import ROWS_SCHEMA, Batch, Origin, PartitionStart
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_clustering import HistoryOrder
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_schema import SCHEMA_VERSION
from cluster.stores.duckdb_status import PartitionLedger
from cluster.stores.ports import Upload, UploadState
from tests.batches import EPOCH_US, make_batch, stream_batch

ROOT = Path(__file__).parents[2]
STREAM = Origin.stream("events", 0, 1)
UPLOAD = Upload("u1", "key-1", "orders.csv", "orders", "csv", "aa", 10, UploadState.RECEIVING)
FILE = Origin.upload("u1", 1)


@pytest.fixture
def config(tmp_path: Path) -> OfflineStoreConfig:
    return OfflineStoreConfig(path=str(tmp_path / "deep" / "features.duckdb"), group_commit_ms=1)


@pytest.fixture
def store(config: OfflineStoreConfig) -> Iterator[DuckStore]:
    opened = DuckStore(config, count(EPOCH_US).__next__, patience_s=0.2)
    yield opened
    opened.close()


def ask(store: DuckStore, query: str) -> list[tuple[Any, ...]]:
    cursor = store.database.cursor()
    try:
        rows: list[tuple[Any, ...]] = cursor.execute(query).fetchall()
        return rows
    finally:
        cursor.close()


def positions(store: DuckStore) -> list[int]:
    return [position for (position,) in ask(store, "SELECT position FROM features ORDER BY position")]


def run_python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


class TestOpening:
    def test_a_file_that_another_process_holds_is_named(self, config: OfflineStoreConfig) -> None:
        script = """import sys, duckdb; Path = __import__("pathlib").Path
Path(sys.argv[1]).parent.mkdir(); held = duckdb.connect(sys.argv[1]); print("held", flush=True); sys.stdin.read()"""
        command = [sys.executable, "-c", script, config.path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(Refused, match="held by another process") as refused:
                DuckDatabase(config)
            assert config.path in str(refused.value)
            holder.communicate()

    def test_a_file_that_is_not_a_database_is_misconfigured(self, tmp_path: Path) -> None:
        (tmp_path / "notes.duckdb").write_text("hello" * 1000)
        with pytest.raises(Misconfigured, match=r"notes\.duckdb cannot be opened"):
            DuckDatabase(OfflineStoreConfig(path=str(tmp_path / "notes.duckdb")))

    def test_a_wrong_memory_limit_is_misconfigured(self, tmp_path: Path) -> None:
        with pytest.raises(Misconfigured, match="offline_store"):
            DuckDatabase(OfflineStoreConfig(path=str(tmp_path / "a.duckdb"), memory_limit="lots"))

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("CREATE TABLE other(a INTEGER)", "not a Raytide file"),
            (f"CREATE TABLE meta AS SELECT {SCHEMA_VERSION + 1} AS schema_version", "version"),
        ],
    )
    def test_a_file_of_somebody_else_is_left_alone(self, tmp_path: Path, statement: str, message: str) -> None:
        path = str(tmp_path / "a.duckdb")
        with duckdb.connect(path) as other:
            other.execute(statement)
        with pytest.raises(Misconfigured, match=message):
            DuckDatabase(OfflineStoreConfig(path=path))

    def test_a_file_of_the_first_version_is_brought_up_to_date(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2, rejected=[1]))
        store.close()
        with duckdb.connect(config.path) as first:
            first.execute("ALTER TABLE quarantine DROP COLUMN record_time")
            first.execute("DROP TABLE replays")
            self.undo_the_third_version(first)
            first.execute("UPDATE meta SET schema_version = 1")
        again = DuckStore(config)
        again.commit(stream_batch(1, 2, 4, rejected=[2]))
        assert ask(again, "SELECT position, record_time FROM quarantine ORDER BY 1") == [(1, None), (2, None)]
        assert again.commit_replay("r", STREAM, make_batch(STREAM.replayed_under(1), 0, (1, 2))) == 1
        assert ask(again, "FROM meta") == [(SCHEMA_VERSION,)]
        again.close()

    def test_a_file_of_the_second_version_is_brought_up_to_date(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        store.close()
        with duckdb.connect(config.path) as second:
            self.undo_the_third_version(second)
            second.execute("UPDATE meta SET schema_version = 2")
        again = DuckStore(config)
        assert again.open_partition("events", 0, 0, "id") == PartitionStart(2, 2, 0)
        again.commit(stream_batch(2, 2, 4))
        assert ask(again, "SELECT DISTINCT source_id, incarnation FROM sources") == [(1, 0)], "known sources keep their ids"
        assert ask(again, "SELECT topic, incarnation, topic_id FROM topics") == [("events", 0, "id")]
        again.reset_partition(Reset("events", 0, 6, 6, 9, "id", 1, "me"))
        assert ask(again, "SELECT first_position, next_position FROM abandoned") == [(4, 6)]
        assert ask(again, "FROM meta") == [(SCHEMA_VERSION,)]
        again.close()

    def test_a_file_of_the_third_version_is_brought_up_to_date(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        store.close()
        with duckdb.connect(config.path) as third:
            self.undo_the_fourth_version(third)
            third.execute("UPDATE meta SET schema_version = 3")
        again = DuckStore(config)
        again.commit(stream_batch(1, 2, 4))
        assert ask(again, "SELECT source_id, backfill_id FROM sources") == [(1, None)], "known sources keep their ids"
        for table in ("superseded", "backfills", "backfill_partitions"):
            assert ask(again, f"SELECT count(*) FROM {table}") == [(0,)]
        assert ask(again, "FROM meta") == [(SCHEMA_VERSION,)]
        again.close()

    def test_a_file_of_the_fourth_version_is_brought_up_to_date(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        begun = BackfillPart("events", 0, 0, 2, 1, 1)
        store.open_backfill(Backfill("b", "v", "s", ("clicks",), 2, 0, 9, (begun,)))
        store.close()
        with duckdb.connect(config.path) as fourth:
            fourth.execute("ALTER TABLE backfill_partitions DROP COLUMN upload_id")
            fourth.execute("DROP TABLE clustered")
            fourth.execute("UPDATE meta SET schema_version = 4")
        again = DuckStore(config)
        assert again.get_backfill("b").parts == (begun,)
        assert ask(again, "FROM meta") == [(SCHEMA_VERSION,)]
        again.close()

    def test_a_file_of_the_fifth_version_is_brought_up_to_date(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        store.close()
        with duckdb.connect(config.path) as fifth:
            fifth.execute("DROP TABLE clustered")
            fifth.execute("UPDATE meta SET schema_version = 5")
        again = DuckStore(config)
        order = HistoryOrder(again.database.cursor(), 2, threading.Lock())
        assert order.advance() == 2, "what was there before is put in order as well"
        order.close()
        assert positions(again) == [0, 1]
        assert ask(again, "FROM meta") == [(SCHEMA_VERSION,)]
        again.close()

    @staticmethod
    def undo_the_fourth_version(file: duckdb.DuckDBPyConnection) -> None:
        file.execute("ALTER TABLE registry_versions DROP COLUMN shipped")
        file.execute("ALTER TABLE sources DROP COLUMN backfill_id")
        for table in ("superseded", "backfills", "backfill_partitions", "clustered"):
            file.execute(f"DROP TABLE {table}")

    @classmethod
    def undo_the_third_version(cls, file: duckdb.DuckDBPyConnection) -> None:
        cls.undo_the_fourth_version(file)
        for statement in (
            "ALTER TABLE sources DROP COLUMN incarnation",
            "ALTER TABLE partitions DROP COLUMN incarnation",
            "DROP TABLE topics",
            "DROP TABLE abandoned",
        ):
            file.execute(statement)

    def test_no_statement_reaches_files_or_this_process_variables(self, store: DuckStore, tmp_path: Path) -> None:
        secret = pa.table({"a": [1]})
        assert secret.num_rows == 1
        for statement in ("FROM secret", f"FROM read_text('{tmp_path}/x')", "SET enable_external_access = true"):
            with pytest.raises(duckdb.Error):
                ask(store, statement)

    def test_settings_come_from_the_configuration(self, config: OfflineStoreConfig) -> None:
        database = DuckDatabase(config.model_copy(update={"threads": 1, "memory_limit": "300MiB"}))
        cursor = database.cursor()
        found = cursor.execute(
            "SELECT current_setting('threads'), current_setting('memory_limit'), current_setting('TimeZone')"
        )
        assert found.fetchall() == [(1, "300.0 MiB", "UTC")]
        cursor.close()
        database.close()


class TestRows:
    def test_values_come_back_as_they_went_in(self, store: DuckStore) -> None:
        rows = [
            ("user_1", "clicks", 0.1, EPOCH_US + 1, EPOCH_US + 2, 0),
            ("Zoë ☃", "clicks", None, -1, 0, 1),
            ("x" * 256, "age", -0.0, 253_402_300_799_999_999, EPOCH_US, 2),
        ]
        store.open_partition("events", 0, 0)
        store.commit(make_batch(STREAM, 1, (0, 3), rows))
        columns = 'entity_id, feature_name, value, epoch_us(event_timestamp), epoch_us(created_at), "position"'
        assert ask(store, f"SELECT {columns} FROM features ORDER BY position") == rows

    def test_batches_of_one_group_keep_their_own_feature_names(self, config: OfflineStoreConfig) -> None:
        store = DuckStore(config.model_copy(update={"group_commit_ms": 1000, "group_commit_rows": 4}))
        store.open_partition("events", 0, 0)
        names = [["a", "b"], ["c", "a"]]
        spans = [(0, 2), (2, 4)]
        futures = [
            store.submit(make_batch(STREAM, 1, span, [("e", n, 1.0, 0, 0, p) for n, p in zip(pair, range(*span), strict=True)]))
            for pair, span in zip(names, spans, strict=True)
        ]
        for future in futures:
            future.result()
        assert ask(store, "SELECT feature_name FROM features ORDER BY position") == [("a",), ("b",), ("c",), ("a",)]
        assert store.snapshot().transactions == 1
        store.close()

    def test_rejects_keep_what_is_needed_to_replay_them(self, store: DuckStore) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2, rejected=[1]))
        [row] = ask(store, "SELECT * EXCLUDE (source_id, received_at) FROM quarantine")
        assert row == (1, "missing_field", "value", b"{}", b"key", '[["id", "MQ=="]]', None, None)
        [(received,)] = ask(store, "SELECT epoch_us(received_at) FROM quarantine")
        assert received >= EPOCH_US

    def test_an_origin_has_one_source_id_for_ever(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2, version=1))
        store.commit(stream_batch(1, 2, 4, version=2))
        store.close()
        again = DuckStore(config)
        again.commit(stream_batch(1, 4, 6, version=1))
        again.open_partition("events", 1, 0)
        again.commit(stream_batch(1, 0, 2, partition=1))
        found = ask(again, 'SELECT source_id, "partition", registry_version FROM sources ORDER BY source_id')
        assert found == [(1, 0, 1), (2, 0, 2), (3, 1, 1)]
        again.close()


class TestRestart:
    def test_the_ledger_comes_back_from_the_file(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        store.close()
        again = DuckStore(config)
        again.commit(stream_batch(1, 0, 2))
        again.commit(stream_batch(1, 2, 4))
        assert positions(again) == list(range(4))
        assert again.open_partition("events", 0, 0) == PartitionStart(2, 4)
        again.close()

    def test_an_open_file_must_be_opened_again(self, store: DuckStore, config: OfflineStoreConfig) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        store.append_upload("u1", 0, make_batch(FILE, 0, (0, 2)))
        store.close()
        again = DuckStore(config)
        with pytest.raises(Refused, match="open it again"):
            again.append_upload("u1", 1, make_batch(FILE, 0, (2, 4)))
        again.open_upload("u1", FILE)
        again.append_upload("u1", 0, make_batch(FILE, 0, (0, 2)))
        assert again.commit_upload("u1", 1).rows == 2
        assert positions(again) == [0, 1]
        again.close()

    def test_closing_commits_what_it_can_and_answers_the_rest(self, config: OfflineStoreConfig) -> None:
        store = DuckStore(config.model_copy(update={"group_commit_ms": 60_000}))
        store.open_partition("events", 0, 0)
        ready, blocked = store.submit(stream_batch(1, 0, 2)), store.submit(stream_batch(1, 4, 6))
        store.close()
        ready.result()
        with pytest.raises(RetryLater, match="shutting down"):
            blocked.result()
        with pytest.raises(RetryLater, match="shutting down"):
            store.commit(stream_batch(1, 2, 4))


class TestGroups:
    def test_what_waits_becomes_one_transaction(self, config: OfflineStoreConfig) -> None:
        store = DuckStore(config.model_copy(update={"group_commit_ms": 60_000, "group_commit_rows": 20}))
        for partition in (0, 1):
            store.open_partition("events", partition, 0)
        spans = [(f, f + 2) for f in range(0, 10, 2)]
        futures = [store.submit(stream_batch(1, *span, partition=p)) for p in (0, 1) for span in spans]
        for future in futures:
            future.result()
        seen = store.snapshot()
        assert (seen.transactions, seen.batches, seen.rows) == (1, 10, 20)
        store.close()

    def test_a_batch_alone_does_not_wait_for_company_for_ever(self, store: DuckStore) -> None:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 2))
        assert store.snapshot().transactions == 1

    def test_a_batch_that_duckdb_refuses_costs_only_itself(self, config: OfflineStoreConfig) -> None:
        store = DuckStore(config.model_copy(update={"group_commit_ms": 60_000, "group_commit_rows": 6}), patience_s=60)
        for partition in (0, 1):
            store.open_partition("events", partition, 0)
        poisonous = not_utf8(stream_batch(1, 0, 2))
        bad, after = store.submit(poisonous), store.submit(stream_batch(1, 2, 4))
        good = store.submit(stream_batch(1, 0, 2, partition=1))
        good.result()
        with pytest.raises(Refused, match="DuckDB refuses it"):
            bad.result()
        assert not after.done()
        assert store.healthy
        retried = store.submit(stream_batch(1, 0, 2))
        store.close()
        retried.result()
        after.result()
        again = DuckStore(config)
        assert again.open_partition("events", 0, 0) == PartitionStart(2, 4)
        again.close()

    def test_a_ledger_that_was_changed_behind_our_back_is_not_overwritten(self, store: DuckStore) -> None:
        store.open_partition("events", 0, 0)
        ask(store, "UPDATE partitions SET next_offset = 7")
        with pytest.raises((Refused, Gap)):
            store.commit(stream_batch(1, 0, 2))
        assert positions(store) == []
        store.commit(stream_batch(1, 7, 9))


class TestQueue:
    def test_senders_wait_while_too_many_bytes_do(self, config: OfflineStoreConfig) -> None:
        bound = stream_batch(1, 0, 2).nbytes
        store = DuckStore(config.model_copy(update={"queue_bytes": bound, "group_commit_ms": 60_000}))
        store.open_partition("events", 0, 0)
        first = store.submit(stream_batch(1, 0, 2))
        with ThreadPoolExecutor(1) as sender:
            entering = sender.submit(store.submit, stream_batch(1, 2, 4))
            with pytest.raises(TimeoutError):
                entering.result(timeout=0.2)
            store.close()
            first.result()
            with pytest.raises(RetryLater):
                entering.result()

    def test_a_full_queue_lets_the_missing_predecessor_in(self, config: OfflineStoreConfig) -> None:
        store = DuckStore(config.model_copy(update={"queue_bytes": 1}), patience_s=60)
        store.open_partition("events", 0, 0)
        with ThreadPoolExecutor(4) as senders:
            for future in [senders.submit(store.commit, stream_batch(1, f, f + 2)) for f in (6, 4, 2, 0)]:
                future.result()
        assert positions(store) == list(range(8))
        assert (store.snapshot().waiting_batches, store.snapshot().waiting_bytes) == (0, 0)
        store.close()


class TestUploads:
    def test_pieces_come_from_many_tasks_at_once(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        with ThreadPoolExecutor(4) as tasks:
            spans = [(piece, (piece * 100, piece * 100 + 100)) for piece in range(8)] * 2
            appended = [tasks.submit(store.append_upload, "u1", n, make_batch(FILE, 0, span)) for n, span in spans]
            for future in appended:
                future.result()
        assert store.commit_upload("u1", 8).rows == 800
        assert positions(store) == list(range(800))

    def test_commits_at_the_same_time_commit_once(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        store.append_upload("u1", 0, make_batch(FILE, 0, (0, 2)))
        with ThreadPoolExecutor(4) as callers:
            done = [f.result() for f in [callers.submit(store.commit_upload, "u1", 1) for _ in range(4)]]
        assert {u.state for u in done} == {UploadState.COMMITTED}
        assert positions(store) == [0, 1]

    def test_many_rows_come_back_in_bounded_tables(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        rows = 120_000
        table = pa.table(
            [
                pa.array([f"u{n}" for n in range(rows)]),
                pa.array(["clicks"] * rows).dictionary_encode(),
                *(pa.array(range(rows)).cast(f.type) for f in list(ROWS_SCHEMA)[2:]),
            ],
            names=ROWS_SCHEMA.names,
        ).cast(ROWS_SCHEMA)
        rejects = stream_batch(1, 0, 1).rejects
        store.append_upload("u1", 0, Batch(FILE, 0, 0, rows, rows, table, rejects))
        store.commit_upload("u1", 1)
        tables = list(store.upload_newest("u1", ["clicks"]))
        assert max(t.num_rows for t in tables) <= 50_000
        assert sorted(p for t in tables for p in t["position"].to_pylist()) == list(range(rows))

    def test_a_piece_that_duckdb_refuses_costs_only_itself(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        store.append_upload("u1", 0, make_batch(FILE, 0, (0, 2)))
        with pytest.raises(Refused, match="piece 1 of upload u1"):
            store.append_upload("u1", 1, not_utf8(make_batch(FILE, 0, (2, 4))))
        store.append_upload("u1", 1, make_batch(FILE, 0, (2, 4)))
        assert store.commit_upload("u1", 2).rows == 4
        assert positions(store) == list(range(4))

    def test_a_commit_that_failed_can_be_tried_again(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        store.append_upload("u1", 0, make_batch(FILE, 0, (0, 3), rejected=[1]))
        intruder = store.database.cursor()
        intruder.execute("BEGIN").fetchall()
        intruder.execute("UPDATE uploads SET error = 'x'").fetchall()
        with pytest.raises(RetryLater, match="commit of upload u1"):
            store.commit_upload("u1", 1)
        assert positions(store) == []
        intruder.execute("ROLLBACK").fetchall()
        intruder.close()
        assert store.commit_upload("u1", 1).state is UploadState.COMMITTED
        assert positions(store) == [0, 2]
        assert ask(store, "SELECT position, replayed_at FROM quarantine") == [(1, None)]

    def test_several_files_wait_beside_each_other(self, store: DuckStore) -> None:
        for upload_id in ("u1", "u2"):
            store.begin_upload(replace(UPLOAD, upload_id=upload_id, idempotency_key=upload_id))
            store.open_upload(upload_id, Origin.upload(upload_id, FILE.registry_version))
        for piece, upload_id in product(range(6), ("u1", "u2")):
            span = (piece * 10, piece * 10 + 10)
            batch = make_batch(Origin.upload(upload_id, FILE.registry_version), 0, span, rejected=[piece * 10 + 3])
            store.append_upload(upload_id, piece, batch)
        assert (store.commit_upload("u1", 6).rows, store.commit_upload("u2", 6).rejected) == (54, 6)
        good = [n for n in range(60) if n % 10 != 3]
        assert sorted(positions(store)) == sorted(good * 2)
        rejects = ask(store, "SELECT position, count(*) FROM quarantine GROUP BY ALL ORDER BY ALL")
        assert rejects == [(n, 2) for n in range(60) if n % 10 == 3]

    def test_pieces_may_name_different_features(self, store: DuckStore) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        for piece, name in enumerate(["a", "b", "a"]):
            batch = make_batch(FILE, 0, (piece * 10, piece * 10 + 10))
            names = pa.array([name] * len(batch.rows)).dictionary_encode().cast(ROWS_SCHEMA.field("feature_name").type)
            store.append_upload("u1", piece, replace(batch, rows=batch.rows.set_column(1, ROWS_SCHEMA.field(1), names)))
        store.commit_upload("u1", 3)
        found = ask(
            store, "SELECT feature_name, min(position), max(position), count(*) FROM features GROUP BY ALL ORDER BY ALL"
        )
        assert found == [("a", 0, 29, 20), ("b", 10, 19, 10)]

    def test_a_piece_that_the_disk_did_not_take_leaves_nothing_and_can_come_again(
        self, store: DuckStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        first, second = make_batch(FILE, 0, (0, 10), rejected=[4]), make_batch(FILE, 0, (10, 20), rejected=[14])
        store.append_upload("u1", 0, first)
        really, room = os.pwrite, 700

        def cramped(handle: int, data: memoryview, offset: int) -> int:
            nonlocal room
            if not room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = really(handle, data[:room], offset)
            room -= written
            return written

        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", cramped)
            with pytest.raises(RetryLater, match="No space left on device"):
                store.append_upload("u1", 1, second)
        assert not room, "a part of it was written"
        store.append_upload("u1", 1, second)
        assert (store.commit_upload("u1", 2).rows, store.get_upload("u1").rejected) == (18, 2)
        assert positions(store) == [n for n in range(20) if n not in {4, 14}]

    def test_a_file_that_is_given_up_gives_its_room_on_the_disk_back(self, store: DuckStore) -> None:
        open_files = []
        for _ in range(3):
            store.begin_upload(UPLOAD)
            store.open_upload("u1", FILE)
            store.append_upload("u1", 0, make_batch(FILE, 0, (0, 10)))
            store.set_upload_state("u1", UploadState.FAILED, "given up")
            open_files.append(len(list(Path("/proc/self/fd").iterdir())))
        assert len(set(open_files)) == 1
        path = store.database.path
        assert {file.name for file in path.parent.iterdir()} <= {path.name, f"{path.name}.wal"}, "it never had a name"

    def test_an_open_file_does_not_keep_the_log_from_being_written_back(self, store: DuckStore) -> None:
        store.open_partition("events", 0, 0)
        store.begin_upload(UPLOAD)
        store.open_upload("u1", FILE)
        store.append_upload("u1", 0, make_batch(FILE, 0, (0, 3)))
        store.commit(stream_batch(1, 0, 3))
        ask(store, "CHECKPOINT")
        assert store.snapshot().wal_bytes == 0


FULL_DISK = """
import sys, resource
from cluster.config import OfflineStoreConfig
from cluster.errors import RetryLater
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_clustering import HistoryOrder
from tests.batches import stream_batch
store = DuckStore(OfflineStoreConfig(path=sys.argv[1], group_commit_ms=1))
store.open_partition("events", 0, 0)
cursor = store.database.cursor()
cursor.execute(f"SET GLOBAL wal_autocheckpoint = '{sys.argv[2]}'").fetchall()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
following = 0
try:
    while True:
        store.commit(stream_batch(1, following, following + 20000))
        following += 20000
except RetryLater as error:
    print("result", following, store.healthy, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    store.commit(stream_batch(1, following, following + 20000))
    print("result", following + 20000)
except RetryLater as error:
    print("result", following, error)
store.close()
"""


def fill_the_disk(path: str, wal_autocheckpoint: str) -> list[str]:
    """Commit until a file may not grow any more, then once again with room; return what each of the two said."""
    lines = run_python(FULL_DISK, path, wal_autocheckpoint, "1500000").splitlines()
    return [line.removeprefix("result ") for line in lines if line.startswith("result ")]


class TestFullDisk:
    def test_a_full_disk_is_waited_out(self, config: OfflineStoreConfig) -> None:
        first, second = fill_the_disk(config.path, "1GB")
        following, healthy, message = first.split(" ", 2)
        assert healthy == "True"
        assert message.startswith("commit of 1 batch: ")
        assert int(second) == int(following) + 20000
        check_reopened(config, int(second))

    def test_a_failed_checkpoint_asks_for_a_new_process(self, config: OfflineStoreConfig) -> None:
        first, second = fill_the_disk(config.path, "100KB")
        following, healthy, message = first.split(" ", 2)
        assert healthy == "False"
        assert "must be restarted" in message
        assert second.startswith(f"{following} the writer must be restarted")
        check_reopened(config, int(following))


def check_reopened(config: OfflineStoreConfig, acknowledged: int) -> None:
    store = DuckStore(config)
    [start] = store.snapshot().partitions
    assert start.next_offset >= acknowledged
    assert ask(store, "SELECT count(*), count(DISTINCT position) FROM features") == [(start.next_offset,) * 2]
    store.close()


class TestStatus:
    def test_status_says_what_was_done_and_what_waits(self, store: DuckStore) -> None:
        store.open_partition("events", 0, 5)
        assert store.snapshot().partitions == (PartitionLedger("events", 0, 1, 5, None),)
        store.commit(stream_batch(1, 5, 9, rejected=[6]))
        seen = store.snapshot()
        [partition] = seen.partitions
        assert (partition.epoch, partition.next_offset) == (1, 9)
        assert partition.committed_at is not None
        assert partition.committed_at >= EPOCH_US
        assert (seen.rows, seen.rejected, seen.batches, seen.transactions) == (3, 1, 1, 1)
        assert (seen.waiting_batches, seen.waiting_bytes, seen.healthy) == (0, 0, True)
        assert min(seen.file_bytes, seen.wal_bytes) > 0
        assert seen.last_commit_ms is not None

    def test_no_caller_waits_for_ever_when_the_committer_dies(self, store: DuckStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_: Sequence[Batch]) -> int:
            raise ZeroDivisionError

        store.open_partition("events", 0, 0)
        monkeypatch.setattr(store._committer._tables, "write", broken)
        blocked = store.submit(stream_batch(1, 2, 4))
        for future in (store.submit(stream_batch(1, 0, 2)), blocked):
            with pytest.raises(RetryLater, match="must be restarted"):
                future.result()
        assert not store.healthy
        for call in (lambda: store.commit(stream_batch(1, 0, 2)), lambda: store.open_partition("events", 0, 0)):
            with pytest.raises(RetryLater, match="must be restarted"):
                call()
        assert "committer" not in {t.name for t in threading.enumerate() if t is store._committer._thread}


def not_utf8(batch: Batch) -> Batch:
    """Return the batch with an entity id that is no text: it passes every check but DuckDB's."""
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])), pa.py_buffer(b"\xff\xfe")]
    )
    rows = batch.rows.set_column(0, ROWS_SCHEMA.field("entity_id"), broken)
    return Batch(batch.origin, batch.epoch, batch.first, batch.next, batch.events, rows, batch.rejects)
