"""What goes into a point-in-time join and comes out: shapes, types, names, errors. Its answers: test_asof_oracle.py."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Busy, Refused
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms, point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads

CLICKS = FeatureSpec("clicks", "activity", "user", "user_id", "s", online=True, ttl_us=None, field=None)
AGE = FeatureSpec("age", "profile", "user", "user_id", "s", online=False, ttl_us=3_600_000_000, field=None)
STOCK = FeatureSpec("stock", "shops", "shop", "shop_id", "s", online=False, ttl_us=None, field=None)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckReads]:
    config = OfflineStoreConfig(path=str(tmp_path_factory.mktemp("asof") / "f.duckdb"))
    database = DuckDatabase(config)
    with database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO features VALUES
            ('7', 'clicks', 1, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 0),
            ('7', 'clicks', 2, '2026-05-01 12:00:00', '2026-05-01 12:00:01', 1, 1),
            ('7', 'clicks', 3, '2026-05-01 12:00:00.000001', '2026-05-01 12:00:01', 1, 2),
            ('7', 'age', 40, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 3),
            ('s', 'stock', 5, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 4)""",
        )
    yield DuckReads(database, config)
    database.close()


def _rows(times: Any, **columns: Any) -> pa.Table:
    return pa.table({"user_id": ["7"] * len(times), "event_timestamp": times, **columns})


TIMES_OF_NOON = {
    "seconds": pa.array([NOON], pa.timestamp("s")),
    "milliseconds": pa.array([NOON], pa.timestamp("ms", "UTC")),
    "microseconds": pa.array([NOON], pa.timestamp("us")),
    "nanoseconds, later within the microsecond": pa.array([int(NOON.timestamp()) * 10**9 + 999], pa.timestamp("ns", "UTC")),
    "zone": pa.array([NOON], pa.timestamp("us", "America/New_York")),
    "text": pa.array(["2026-05-01T12:00:00Z"]),
    "text with offset": pa.array(["2026-05-01T14:00:00+02:00"]),
    "text without offset": pa.array(["2026-05-01 12:00:00"], pa.large_string()),
    "dictionary": pa.array(["2026-05-01T12:00:00Z"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", TIMES_OF_NOON)
def test_any_form_of_time_means_the_same_moment(reads: DuckReads, kind: str) -> None:
    joined = point_in_time(reads, _rows(TIMES_OF_NOON[kind]), [CLICKS])
    assert joined["clicks"].to_pylist() == [2.0]
    assert joined["event_timestamp"].chunk(0).equals(TIMES_OF_NOON[kind]), "the column comes back as it was"


def test_a_date_is_its_first_moment(reads: DuckReads) -> None:
    joined = point_in_time(reads, _rows(pa.array([date(2026, 5, 1), date(2026, 5, 2)])), [CLICKS])
    assert joined["clicks"].to_pylist() == [None, 3.0]


KEYS = {
    "text": pa.array(["7", None, "8"]),
    "large text": pa.array(["7", None, "8"], pa.large_string()),
    "dictionary": pa.array(["7", None, "8"]).dictionary_encode(),
    "integer": pa.array([7, None, 8], pa.int64()),
    "small integer": pa.array([7, None, 8], pa.uint8()),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_match_as_text(reads: DuckReads, kind: str) -> None:
    entity_rows = pa.table({"user_id": KEYS[kind], "event_timestamp": [NOON] * 3})
    joined = point_in_time(reads, entity_rows, [CLICKS])
    assert joined["clicks"].to_pylist() == [2.0, None, None]
    assert joined["clicks"].type == pa.float64()


def test_order_duplicates_and_other_columns_stay(reads: DuckReads) -> None:
    entity_rows = _rows(
        ["2026-05-01T12:00:00Z", None, "2026-05-01T11:30:00Z", "2026-05-01T12:00:00Z", "2026-05-01T10:00:00Z"],
        label=[{"any": "type"}, None, {"any": "x"}, {"any": "y"}, None],
    )
    joined = point_in_time(reads, entity_rows, [AGE, CLICKS])
    assert joined.drop_columns(["age", "clicks"]) == entity_rows
    assert joined.column_names == ["user_id", "event_timestamp", "label", "age", "clicks"]
    assert joined["clicks"].to_pylist() == [2.0, None, 1.0, 2.0, None]
    assert joined["age"].to_pylist() == [40.0, None, 40.0, 40.0, None]


def test_chunked_input(reads: DuckReads) -> None:
    entity_rows = pa.concat_tables([_rows(["2026-05-01T12:00:00Z"]), _rows(["2026-05-01T11:00:00Z"])])
    assert point_in_time(reads, entity_rows, [CLICKS])["clicks"].to_pylist() == [2.0, 1.0]


def test_several_entities_in_one_question(reads: DuckReads) -> None:
    joined = point_in_time(reads, _rows([NOON, NOON], shop_id=["s", None]), [STOCK, CLICKS])
    assert joined["stock"].to_pylist() == [5.0, None]
    assert joined["clicks"].to_pylist() == [2.0, 2.0]


def test_what_arrived_later_is_hidden(reads: DuckReads) -> None:
    arrival = int(datetime(2026, 5, 1, 12, 0, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert point_in_time(reads, _rows([NOON]), [CLICKS], Terms(known_at_us=arrival))["clicks"].to_pylist() == [2.0]
    assert point_in_time(reads, _rows([NOON]), [CLICKS], Terms(known_at_us=arrival - 1))["clicks"].to_pylist() == [1.0]


def test_full_names_and_repeated_features(reads: DuckReads) -> None:
    joined = point_in_time(reads, _rows([NOON], clicks=[0]), [CLICKS, AGE, CLICKS], Terms(full_names=True))
    assert joined.column_names == ["user_id", "event_timestamp", "clicks", "activity__clicks", "profile__age"]


@pytest.mark.parametrize("times", [pa.array([], pa.timestamp("us")), pa.array([None], pa.timestamp("us")), pa.nulls(2)])
def test_without_any_time_there_are_nulls(reads: DuckReads, times: pa.Array) -> None:
    entity_rows = pa.table({"user_id": pa.array(["7"] * len(times), pa.string()), "event_timestamp": times})
    joined = point_in_time(reads, entity_rows, [CLICKS, AGE])
    assert joined["clicks"].to_pylist() == [None] * len(times)
    assert joined["age"].type == pa.float64()


def test_no_features_is_the_input(reads: DuckReads) -> None:
    assert point_in_time(reads, _rows([NOON]), []) == _rows([NOON])


WRONG = {
    "no column 'event_timestamp'": pa.table({"user_id": ["7"]}),
    "no column 'user_id', the join key of 'activity:clicks'": pa.table({"event_timestamp": [NOON]}),
    "'clicks' is a column of the entity rows and an asked feature.*full names": _rows([NOON], clicks=[1]),
    "'event_timestamp' is int64.*timestamp": _rows([5]),
    "'event_timestamp' of row 1 .and 1 more. is not a time": _rows([None, "yesterday", "2026-13-01"]),
    "'event_timestamp' of row 0 .and 0 more. is not a time": _rows(pa.array([-1], pa.timestamp("us"))),
    "join key 'user_id' is double": pa.table({"user_id": [7.0], "event_timestamp": [NOON]}),
    "join key 'user_id' is list": pa.table({"user_id": [["7"]], "event_timestamp": [NOON]}),
    "column 'x' more than once": _rows([NOON], x=[1], y=[1]).rename_columns(["user_id", "event_timestamp", "x", "x"]),
}


@pytest.mark.parametrize("message", WRONG)
def test_unusable_rows_are_refused_with_the_fix(reads: DuckReads, message: str) -> None:
    with pytest.raises(Refused, match=message):
        point_in_time(reads, WRONG[message], [CLICKS])


def test_values_are_not_in_messages(reads: DuckReads) -> None:
    with pytest.raises(Refused) as refused:
        point_in_time(reads, _rows(["a secret"]), [CLICKS])
    assert "secret" not in str(refused.value)


def test_versions_take_what_their_definitions_computed(tmp_path: Path) -> None:
    config = OfflineStoreConfig(path=str(tmp_path / "f.duckdb"))
    database = DuckDatabase(config)
    with database.cursor() as cursor:
        for source, version in ((1, 1), (2, 2)):
            cursor.execute(
                "INSERT INTO sources VALUES (?, 'stream', 't', 0, NULL, ?, now()::TIMESTAMP, 0, NULL)", [source, version]
            )
        at = "TIMESTAMP '2026-05-01 11:00:00'"
        cursor.execute(f"INSERT INTO features VALUES ('7', 'clicks', 20, {at}, {at}, 2, 0)")
        cursor.execute(f"INSERT INTO superseded VALUES ('7', 'clicks', 10, {at}, {at}, 1, 0, 2, {at})")
    reads = DuckReads(database, config)
    asked: tuple[dict[str, list[int]] | None, ...] = (None, {"clicks": [1]}, {"clicks": [2]}, {"clicks": []})
    found = {
        str(versions): point_in_time(reads, _rows([NOON]), [CLICKS], Terms(versions=versions))["clicks"].to_pylist()
        for versions in asked
    }
    database.close()
    assert list(found.values()) == [[20.0], [10.0], [20.0], [None]]


ROWS = 100_000


@pytest.fixture
def short_of_memory(tmp_path: Path) -> Iterator[DuckReads]:
    config = OfflineStoreConfig(path=str(tmp_path / "f.duckdb"), memory_limit="24MB", threads=1)
    database = DuckDatabase(config)
    with database.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO features SELECT 'user_' || (n % 1000), 'clicks', n, make_timestamp(n), make_timestamp(n), 1, n
            FROM range({ROWS}) AS r(n)"""
        )
    yield DuckReads(database, config)
    database.close()


def test_a_read_beyond_the_memory_goes_by_the_disk(short_of_memory: DuckReads, tmp_path: Path) -> None:
    keys = pa.array([f"user_{n % 1000}" for n in range(ROWS)])
    entity_rows = pa.table({"user_id": keys, "event_timestamp": pa.array(range(ROWS), pa.timestamp("us"))})
    joined = point_in_time(short_of_memory, entity_rows, [CLICKS])
    assert joined["clicks"].to_pylist() == [float(n) for n in range(ROWS)]
    assert (tmp_path / "f.duckdb.tmp").exists(), "so much memory is enough: the test tests nothing"


def test_a_read_for_which_that_is_not_enough_names_the_limit(short_of_memory: DuckReads) -> None:
    with pytest.raises(Busy, match=r"fewer rows.*offline_store\.memory_limit, which is 24MB"):
        short_of_memory.query("SELECT list(n) AS one_value FROM range(10_000_000) AS r(n)")
    assert short_of_memory.query("SELECT count(*) AS n FROM features")["n"].to_pylist() == [ROWS], "others are served"
