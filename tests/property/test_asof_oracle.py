"""Point-in-time joins against a dictionary and a loop."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms, point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads

TTL = 5
SPECS = [
    FeatureSpec("plain", "v", "user", "user", "s", online=True, ttl_us=None, field=None),
    FeatureSpec("short", "v", "user", "user", "s", online=True, ttl_us=TTL, field=None),
    FeatureSpec("stock", "w", "shop", "shop", "s", online=True, ttl_us=TTL, field=None),
]


class Row(NamedTuple):
    entity_id: str
    feature: str
    event: int
    created: int
    position: int
    source_id: int
    value: float | None


class Asked(NamedTuple):
    user: str | None
    shop: int | None
    time: int | None


# Few values for each, so that ties, corrections, late rows and both limits happen all the time.
row = st.builds(
    Row,
    entity_id=st.sampled_from(["1", "2", "3"]),
    feature=st.sampled_from(["plain", "short", "stock", "other"]),
    event=st.integers(0, 20),
    created=st.integers(0, 20),
    position=st.integers(0, 3),
    source_id=st.integers(1, 3),
    value=st.one_of(st.none(), st.integers(0, 1000).map(float)),
)
# As in the store, no (source, position, feature) twice.
rows = st.lists(row, max_size=40, unique_by=lambda r: (r.source_id, r.position, r.feature))
asked = st.lists(
    st.builds(
        Asked,
        user=st.sampled_from(["1", "2", "3", "4", None]),
        shop=st.sampled_from([1, 2, 5, None]),
        time=st.one_of(st.none(), st.integers(0, 30)),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDatabase]:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path_factory.mktemp("asof") / "f.duckdb")))
    yield database
    database.close()


def store(database: DuckDatabase, history: list[Row]) -> None:
    table = pa.table(
        {
            "entity_id": pa.array([r.entity_id for r in history], pa.string()),
            "feature_name": pa.array([r.feature for r in history], pa.string()),
            "value": pa.array([r.value for r in history], pa.float64()),
            "event_timestamp": pa.array([r.event for r in history], pa.timestamp("us")),
            "created_at": pa.array([r.created for r in history], pa.timestamp("us")),
            "source_id": pa.array([r.source_id for r in history], pa.int32()),
            "position": pa.array([r.position for r in history], pa.int64()),
        },
    )
    with database.cursor() as cursor:
        cursor.register("new", table)
        cursor.execute("DELETE FROM features")
        cursor.execute("INSERT INTO features BY NAME FROM new")


def expected(history: list[Row], spec: FeatureSpec, entity: str | None, time: int | None, known_at: int | None) -> float | None:
    if entity is None or time is None:
        return None
    known = [
        r
        for r in history
        if (r.feature, r.entity_id) == (spec.name, entity)
        and r.event <= time
        and (known_at is None or r.created <= known_at)
        and (spec.ttl_us is None or time - r.event <= spec.ttl_us)
    ]
    newest = max(known, key=lambda r: (r.event, r.created, r.position, r.source_id), default=None)
    return None if newest is None else newest.value


def check(database: DuckDatabase, history: list[Row], questions: list[Asked], known_at: int | None) -> None:
    store(database, history)
    entity_rows = pa.table(
        {
            "label": pa.array(range(len(questions)), pa.int16()),
            "user": pa.array([q.user for q in questions], pa.string()),
            "shop": pa.array([q.shop for q in questions], pa.int32()),
            "event_timestamp": pa.array([q.time for q in questions], pa.timestamp("us", "UTC")),
        },
    )

    joined = point_in_time(DuckReads(database, OfflineStoreConfig()), entity_rows, SPECS, Terms(known_at_us=known_at))

    assert joined.select(entity_rows.column_names) == entity_rows
    for spec in SPECS:
        keys = [q.user if spec.join_key == "user" else (None if q.shop is None else str(q.shop)) for q in questions]
        wanted = [expected(history, spec, key, q.time, known_at) for key, q in zip(keys, questions, strict=True)]
        assert joined[spec.name].to_pylist() == wanted, spec.name


@settings(max_examples=60, deadline=None)
@given(rows, asked, st.one_of(st.none(), st.integers(0, 20)))
@example([Row("1", "short", 5, 5, 0, 1, 1.0)], [Asked("1", None, t) for t in (4, 5, 5 + TTL, 6 + TTL)], None)
@example([Row("1", "short", 5, 5, 0, 1, 1.0)], [Asked("1", None, 5 + TTL)], None)
@example([Row("1", "plain", 5, 9, 0, 1, 1.0), Row("1", "plain", 5, 8, 1, 1, 2.0)], [Asked("1", None, 7)], None)
@example([Row("1", "plain", 5, 9, 1, 1, 1.0), Row("1", "plain", 5, 9, 2, 2, None)], [Asked("1", None, 7)], None)
def test_joins_are_what_a_loop_finds(
    database: DuckDatabase, history: list[Row], questions: list[Asked], known_at: int | None
) -> None:
    check(database, history, questions, known_at)


@settings(max_examples=60, deadline=None)
@given(rows, asked, st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=30, max_size=30))
@example([Row("1", "plain", 5, 9, 0, 1, 1.0), Row("1", "plain", 5, 8, 1, 1, None)], [Asked("1", None, 7)] * 3, [7, 8, 9])
def test_each_row_may_have_its_own_limit_of_what_was_known(
    database: DuckDatabase, history: list[Row], questions: list[Asked], limits: list[int | None]
) -> None:
    store(database, history)
    limits = limits[: len(questions)]
    entity_rows = pa.table(
        {
            "user": pa.array([q.user for q in questions], pa.string()),
            "shop": pa.array([q.shop for q in questions], pa.int32()),
            "event_timestamp": pa.array([q.time for q in questions], pa.timestamp("us")),
            "seen": pa.array(limits, pa.timestamp("us")),
        },
    )
    reads = DuckReads(database, OfflineStoreConfig())
    joined = point_in_time(reads, entity_rows, SPECS, Terms(known_at_column="seen"))
    assert joined.select(entity_rows.column_names) == entity_rows
    for spec in SPECS:
        keys = [q.user if spec.join_key == "user" else (None if q.shop is None else str(q.shop)) for q in questions]
        wanted = [
            None if limit is None else expected(history, spec, key, q.time, limit)
            for key, q, limit in zip(keys, questions, limits, strict=True)
        ]
        assert joined[spec.name].to_pylist() == wanted, spec.name


@pytest.mark.parametrize("seed", range(3))
def test_joins_of_many_rows_are_too(database: DuckDatabase, seed: int) -> None:
    # DuckDB joins few rows with nested loops and many by sorting.
    random = Random(seed)
    features, entities = ["plain", "short", "stock"], ["1", "2", "3"]
    history = [
        Row(
            random.choice(entities),
            random.choice(features),
            random.randrange(200),
            random.randrange(9),
            n,
            n % 3,
            random.random(),
        )
        for n in range(2_000)
    ]
    random.shuffle(history)
    questions = [Asked(random.choice([*entities, None]), random.choice([1, 2, 5]), random.randrange(220)) for _ in range(1_000)]
    check(database, history, questions, random.choice([None, 4]))
