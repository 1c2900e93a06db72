"""History that is put in order behind the streams: what is moved, when, and that nothing else changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cluster import faults
from cluster.config import OfflineStoreConfig
from cluster.errors import RetryLater
from cluster.faults import Point
from cluster.ingest.backfills import Backfill, BackfillPart
from cluster.priority import NICENESS, give_way
from cluster.records import Origin
from cluster.stores import duckdb_clustering
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_clustering import Clustering, HistoryOrder, pause_after
from cluster.stores.duckdb_errors import Health
from cluster.stores.duckdb_statements import Cursor, run
from cluster.stores.ports import Upload, UploadState
from tests.batches import EPOCH_US, make_batch, row_at, stream_batch

ROOT = Path(__file__).parents[2]
SECONDS = 60
_AS_STORED = "SELECT feature_name, entity_id, epoch_us(event_timestamp), position FROM features"


@pytest.fixture
def config(tmp_path: Path) -> OfflineStoreConfig:
    return OfflineStoreConfig(path=str(tmp_path / "features.duckdb"), group_commit_ms=1, threads=1)


@pytest.fixture
def store(config: OfflineStoreConfig) -> Iterator[DuckStore]:
    opened = DuckStore(config, count(EPOCH_US).__next__, patience_s=0.2)
    opened.open_partition("events", 0, 0)
    yield opened
    opened.close()


def ask(store: DuckStore, query: str) -> list[tuple[Any, ...]]:
    with store.database.cursor() as cursor:
        return run(cursor, query)


def ordering(store: DuckStore, rows: int) -> HistoryOrder:
    return HistoryOrder(store.database.cursor(), rows, threading.Lock())


def test_the_oldest_rows_are_put_in_the_order_of_feature_entity_and_time(store: DuckStore) -> None:
    store.commit(stream_batch(1, 0, 6))
    store.commit(stream_batch(1, 6, 8))
    before = ask(store, _AS_STORED)
    order = ordering(store, 6)
    assert order.advance() == 6
    assert ask(store, _AS_STORED) == [*before[6:], *sorted(before[:6])]
    assert ask(store, "FROM clustered") == [(1, 6)]
    assert order.advance() == 0, "two wait, six are wanted"
    order.close()


def test_no_more_rows_are_taken_at_once_than_are_allowed(store: DuckStore) -> None:
    for first in range(0, 20, 4):
        store.commit(stream_batch(1, first, first + 4))
    order = ordering(store, 6)
    assert [order.advance() for _ in range(4)] == [6, 6, 6, 0]
    assert sorted(position for *_, position in ask(store, _AS_STORED)) == list(range(20))
    order.close()


def test_a_file_that_is_larger_is_cut(store: DuckStore) -> None:
    store.begin_upload(Upload("u1", "key", "f.csv", "s", "csv", "aa", 1, UploadState.RECEIVING))
    origin = Origin.upload("u1", 1)
    store.open_upload("u1", origin)
    store.append_upload("u1", 0, make_batch(origin, 0, (0, 10)))
    store.commit_upload("u1", 1)
    order = ordering(store, 4)
    assert [order.advance() for _ in range(3)] == [4, 4, 0]
    assert sorted(position for *_, position in ask(store, _AS_STORED)) == list(range(10))
    order.close()


def test_records_of_many_features_count_as_many_rows(store: DuckStore) -> None:
    rows = [(*row_at(p)[:1], f"f{n}", *row_at(p)[2:]) for p in range(4) for n in range(5)]
    store.commit(make_batch(Origin.stream("events", 0, 1), 1, (0, 4), rows))
    order = ordering(store, 10)
    assert [order.advance() for _ in range(3)] == [10, 10, 0]
    order.close()


def test_what_a_backfill_would_take_waits_and_is_taken_then(store: DuckStore) -> None:
    store.commit(stream_batch(1, 0, 4))
    part = BackfillPart("events", 0, 0, 4, 0, 0)
    opened = store.open_backfill(Backfill("b", "v", "events", ("clicks",), 2, EPOCH_US, EPOCH_US + 9, (part,)))
    chunk = make_batch(opened.origin(part), 0, (0, 4))
    moving = store._backfills._moving  # whoever holds it is putting history in order
    done: list[int] = []
    waiting = threading.Thread(target=lambda: done.append(store.commit_backfill("b", chunk).parts[0].superseded))
    with moving:
        waiting.start()
        store.commit(stream_batch(1, 4, 6))  # streams do not wait
        assert not done
    waiting.join(SECONDS)
    assert done == [4]
    assert len(ask(store, "FROM superseded")) == 4


def test_rows_that_come_meanwhile_are_kept(store: DuckStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(stream_batch(1, 0, 4))
    monkeypatch.setattr(duckdb_clustering, "reach", lambda _point: store.commit(stream_batch(1, 4, 6)))
    order = ordering(store, 4)
    assert order.advance() == 4
    assert sorted(position for *_, position in ask(store, _AS_STORED)) == list(range(6))
    order.close()


def die_while_ordering(path: str, rows: int) -> None:
    store = DuckStore(OfflineStoreConfig(path=path))
    ordering(store, rows).advance()
    os._exit(0)


@pytest.mark.parametrize(("point", "left"), [(Point.CLUSTERING_IN_TRANSACTION, []), (Point.CLUSTERING_COMMITTED, [(1, 6)])])
def test_a_death_in_the_middle_changes_no_row(
    store: DuckStore, config: OfflineStoreConfig, tmp_path: Path, point: Point, left: list[tuple[int, int]]
) -> None:
    store.commit(stream_batch(1, 0, 6))
    before = ask(store, "FROM features ORDER BY ALL")
    store.close()
    faults.arm(tmp_path, point)
    code = f"from tests.unit.test_duckdb_clustering import *; die_while_ordering({config.path!r}, 6)"
    environment = os.environ | {faults.VARIABLE: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL
    again = DuckStore(config)
    assert ask(again, "FROM features ORDER BY ALL") == before
    assert ask(again, "FROM clustered") == left
    order = ordering(again, 6)
    assert order.advance() == (0 if left else 6), "the rest is done later"
    order.close()
    again.close()


def many(cursor: Cursor, rows: int) -> None:
    """Store rows of ten features in order of arrival, and their ledger."""
    run(
        cursor,
        f"""INSERT INTO features SELECT 'user_' || hash(n) % 1000, 'feature_' || n % 10, hash(n) % 997, make_timestamp(n),
            make_timestamp(n), 1, n FROM range({rows}) AS r(n)""",
    )
    run(cursor, f"INSERT INTO batches VALUES (1, 0, {rows}, {rows}, {rows}, 0, 1, make_timestamp(1))")


def test_the_space_of_the_old_copies_comes_back(store: DuckStore) -> None:
    rows, sizes = 400_000, []
    with store.database.cursor() as cursor:
        many(cursor, rows)
        order = ordering(store, rows)
        for _ in range(4):
            run(cursor, "DELETE FROM clustered")  # as if none were in order yet
            assert order.advance() == rows
            run(cursor, "CHECKPOINT")
            sizes.append(store.database.bytes_on_disk[0])
        order.close()
        [(seen,)] = run(cursor, "SELECT count(DISTINCT position) FROM features")
    assert seen == rows
    assert max(sizes) <= sizes[0] * 1.6, "new copies take the place of old ones: there is room for two, never for four"


def test_it_ends_at_once_when_the_writer_closes(store: DuckStore) -> None:
    with store.database.cursor() as cursor:
        many(cursor, 400_000)
        before = run(cursor, "SELECT count(*), sum(position) FROM features")
        running = ordering(store, 400_000)
        started, ended = threading.Event(), []

        def work() -> None:
            started.set()
            try:
                with Health().guard("ordering"):
                    running.advance()
            except RetryLater as error:
                ended.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        started.wait(SECONDS)
        while thread.is_alive():
            running.interrupt()
            thread.join(0.01)
        running.close()
        assert "nothing was written" in ended[0]
        assert run(cursor, "SELECT count(*), sum(position) FROM features") == before
        assert run(cursor, "FROM clustered") == []


def test_a_thread_does_it_until_it_is_closed(
    store: DuckStore, config: OfflineStoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_clustering, "LOOK_EVERY_S", 0.001)
    reached = threading.Event()

    def reach(point: Point) -> None:
        if point is Point.CLUSTERING_COMMITTED:
            reached.set()

    monkeypatch.setattr(duckdb_clustering, "reach", reach)
    clustering = Clustering(ordering(store, 6), Health(), config)
    store.commit(stream_batch(1, 0, 6))
    assert reached.wait(SECONDS)
    clustering.close()
    assert ask(store, "FROM clustered") == [(1, 6)]
    store.commit(stream_batch(1, 6, 12))
    assert ask(store, "FROM clustered") == [(1, 6)]


@pytest.mark.parametrize("patience", [0.0, SECONDS])
def test_files_go_first_for_so_long(
    store: DuckStore, config: OfflineStoreConfig, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(duckdb_clustering, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(duckdb_clustering, "PATIENCE_S", patience)
    asked, moved, is_busy = threading.Semaphore(0), threading.Event(), True

    def is_to_wait() -> bool:
        asked.release()
        return is_busy

    monkeypatch.setattr(duckdb_clustering, "reach", lambda _: moved.set())
    store.commit(stream_batch(1, 0, 6))
    clustering = Clustering(ordering(store, 6), Health(), config, is_to_wait)
    for _ in range(3):
        assert asked.acquire(timeout=SECONDS)
    assert moved.wait(SECONDS if not patience else 0) == (not patience)
    is_busy = False
    assert moved.wait(SECONDS)
    clustering.close()


@pytest.mark.parametrize(("seconds", "share", "rest"), [(2.0, 0.25, 6.0), (2.0, 0.5, 2.0), (2.0, 1.0, 0.0)])
def test_it_has_its_share_of_the_time_and_no_more(seconds: float, share: float, rest: float) -> None:
    assert pause_after(seconds, share) == rest


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_who_gives_way_is_one_thread() -> None:
    found: list[int] = []

    def work() -> None:
        give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(SECONDS)
    assert found == [min(19, before + NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
