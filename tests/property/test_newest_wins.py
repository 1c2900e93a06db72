"""Newest wins, whatever the order, the repeats, the split into batches and the number of writers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import OnlineStoreConfig
from cluster.ingest.merge import newest, online_rows
from cluster.records import ROWS_SCHEMA
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OnlineStore
from cluster.stores.redis import RedisOnlineStore
from cluster.stores.redis_packing import command

Row = tuple[str, str, float | None, int, int]
Newest = dict[tuple[str, str], tuple[int, int, float | None]]

ENTITIES = ["user_1", "user 2", "ü%s"]
FEATURES = ["x", "y", "z"]
TIMES = st.one_of(
    st.integers(-11, 11),
    st.integers(1_767_225_600_000_000, 1_767_225_600_000_003),
    st.sampled_from([-(10**15) - 1, -(10**15), 999, 1000, 10**15, 10**16 - 1, 10**16]),
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(ENTITIES), st.sampled_from(FEATURES), st.one_of(st.none(), st.floats(allow_nan=False)), TIMES, TIMES
    ),
    max_size=30,
)


def table(rows: Iterable[Row]) -> pa.Table:
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    return pa.table([*columns, list(range(len(columns[0])))], names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)


def oracle(rows: Iterable[Row]) -> Newest:
    """Sort by time, which keeps the order among equals, and let a dictionary keep the last."""
    in_time = sorted(rows, key=lambda row: row[3:])
    return {(entity, feature): (event, created, value) for entity, feature, value, event, created in in_time}


def content(rows: pa.Table) -> Newest:
    pairs = zip(rows.column("entity_id").to_pylist(), rows.column("feature_name").to_pylist(), strict=True)
    times = (rows.column(name).cast(pa.int64()).to_pylist() for name in ("event_timestamp", "created_at"))
    return dict(zip(pairs, zip(*times, rows.column("value").to_pylist(), strict=True), strict=True))


def everything(store: OnlineStore) -> Newest:
    answer = store.read(ENTITIES, FEATURES)
    return {
        (entity, feature): (
            int(answer.event_timestamps[f][e]),
            int(answer.created_at[f][e]),
            None if answer.null[f][e] else float(answer.values[f][e]),
        )
        for e, entity in enumerate(ENTITIES)
        for f, feature in enumerate(FEATURES)
        if answer.found[f][e]
    }


def valued_by_time(rows: Iterable[Row]) -> list[Row]:
    """Give rows with equal times equal values, so that their order cannot matter."""
    return [(entity, feature, float(event ^ created), event, created) for entity, feature, _, event, created in rows]


def pieces(rows: list[Row], cuts: Iterable[int]) -> list[list[Row]]:
    edges = sorted({0, len(rows), *(cut % (len(rows) + 1) for cut in cuts)})
    return [rows[first:stop] for first, stop in pairwise(edges)]


@given(ROWS)
@settings(deadline=None)
def test_within_a_batch(rows: list[Row]) -> None:
    kept = newest(table(rows))
    assert content(kept) == oracle(rows)
    assert len(kept) == len(oracle(rows))


@given(ROWS, st.lists(st.integers(0, 30), max_size=4))
@settings(deadline=None)
def test_reducing_pieces_and_then_all_is_reducing_all(rows: list[Row], cuts: list[int]) -> None:
    parts = [newest(table(piece)) for piece in pieces(rows, cuts)] or [table([])]
    assert content(newest(pa.concat_tables(parts))) == oracle(rows)


@given(ROWS, st.sets(st.sampled_from(FEATURES)))
@settings(deadline=None)
def test_filtering_online_features_and_reducing_commute(rows: list[Row], online: set[str]) -> None:
    expected = {pair: kept for pair, kept in oracle(rows).items() if pair[1] in online}
    assert content(newest(online_rows(table(rows), online))) == expected
    assert content(online_rows(newest(table(rows)), online)) == expected


@given(ROWS, st.lists(st.integers(0, 30), max_size=4), st.booleans())
@settings(deadline=None)
def test_between_batches(rows: list[Row], cuts: list[int], reduce: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    store = MemoryOnlineStore()
    for piece in pieces(rows, cuts):
        store.write(newest(table(piece)) if reduce else table(piece))
    assert everything(store) == oracle(rows)


@pytest.fixture(scope="module")
def real(redis_url: str) -> Iterator[RedisOnlineStore]:
    store = RedisOnlineStore(redis_url, OnlineStoreConfig(entities_per_call=2))
    yield store
    store.close()


def emptied(store: RedisOnlineStore) -> RedisOnlineStore:
    store._connections.exchange(lambda: [[command(b"FLUSHALL")]])
    return store


@pytest.mark.stack
@given(rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=4), reduce=st.booleans())
@settings(deadline=None)
def test_between_batches_on_the_real_server(real: RedisOnlineStore, rows: list[Row], cuts: list[int], *, reduce: bool) -> None:
    store, twin = emptied(real), MemoryOnlineStore()
    for piece in pieces(rows, cuts):
        batch = newest(table(piece)) if reduce else table(piece)
        assert store.write(batch) == twin.write(batch)
    assert everything(store) == everything(twin) == oracle(rows)


@pytest.mark.stack
@given(rows=ROWS.map(valued_by_time), orders=st.lists(st.randoms(use_true_random=False), min_size=3, max_size=3))
@settings(deadline=None, max_examples=50)
def test_writers_that_race_with_repeats_in_any_order(real: RedisOnlineStore, rows: list[Row], orders: list[Any]) -> None:
    store = emptied(real)
    shuffled = [order.sample(rows, len(rows)) for order in orders]
    writers = [Thread(target=write_one_by_one, args=(store, each)) for each in shuffled]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert everything(store) == oracle(rows)


def write_one_by_one(store: RedisOnlineStore, rows: list[Row]) -> None:
    for piece in pieces(rows, range(0, 30, 3)):
        store.write(table(piece))
