"""Windows in a historical read: names, limits, versions, what the database is asked. Their values: test_window_oracle.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Refused
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms, point_in_time
from cluster.serving.windows import Questions, aggregated
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from cluster.windows.window import MAX_DISTINCT

HOUR = timedelta(hours=1)


def spec(item: Aggregation, view: str = "activity", entity: str = "user") -> FeatureSpec:
    return FeatureSpec(item.name, view, entity, f"{entity}_id", "s", online=False, ttl_us=None, field=None, aggregation=item)


COUNT = spec(Aggregation("clicks", "count", 2 * HOUR, HOUR))
PAID = spec(Aggregation("clicks", "sum", 2 * HOUR, HOUR, filter="paid", name="paid_clicks"))
STOCK = spec(Aggregation("stock", "max", 2 * HOUR, HOUR), "shops", "shop")
DISTINCT = spec(Aggregation("many", "count_distinct", 2 * HOUR, HOUR))
CLICKS = FeatureSpec("clicks", "activity", "user", "user_id", "s", online=False, ttl_us=None, field=None)


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckReads]:
    config = OfflineStoreConfig(path=str(tmp_path_factory.mktemp("windows") / "f.duckdb"))
    database = DuckDatabase(config)
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO sources (source_id, kind, registry_version) VALUES (1, 'stream', 1), (2, 'stream', 2)")
        cursor.execute(
            """INSERT INTO features VALUES
            ('7', 'clicks', 1, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 0),
            ('7', 'paid', 1, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 0),
            ('7', 'clicks', 5, '2026-05-01 11:30:00', '2026-05-01 11:30:01', 2, 1),
            ('7', 'paid', 0, '2026-05-01 11:30:00', '2026-05-01 11:30:01', 2, 1),
            ('s', 'stock', 5, '2026-05-01 11:00:00', '2026-05-01 11:00:01', 1, 4)""",
        )
        cursor.execute(
            """INSERT INTO superseded BY NAME SELECT '7' AS entity_id, unnest(['clicks', 'paid']) AS feature_name, 3 AS value,
            TIMESTAMP '2026-05-01 11:30:00' AS event_timestamp, TIMESTAMP '2026-05-01 11:30:01' AS created_at,
            1 AS source_id, 1 AS position"""
        )
        cursor.execute(
            f"""INSERT INTO features SELECT if(n < {MAX_DISTINCT}, 'few', 'many'), 'many', n,
            TIMESTAMP '2026-05-01 11:00:01', TIMESTAMP '2026-05-01 11:00:01', 1, 10 + n
            FROM range(2 * {MAX_DISTINCT} + 1) AS r(n)"""
        )
    yield DuckReads(database, config)
    database.close()


def _rows(*times: str | None, user: str = "7") -> pa.Table:
    return pa.table({"user_id": [user] * len(times), "event_timestamp": list(times), "shop_id": ["s"] * len(times)})


NOON = "2026-05-01T12:00:00Z"


def test_they_come_with_other_features_under_their_names(reads: DuckReads) -> None:
    joined = point_in_time(reads, _rows(NOON), [STOCK, CLICKS, COUNT, PAID], Terms(full_names=True))
    assert (
        joined.to_pylist()[0].items()
        >= {
            "shops__stock_max_2h": 5.0,
            "activity__clicks": 5.0,
            "activity__clicks_count_2h": 2.0,
            "activity__paid_clicks": 1.0,
        }.items()
    )
    assert joined.schema.field("activity__clicks_count_2h").type == pa.float64()


def test_time_alone_moves_a_window(reads: DuckReads) -> None:
    asked = _rows("2026-05-01T13:29:59Z", "2026-05-01T14:00:00Z", "2026-05-01T14:59:59Z", NOON, "2026-05-01T10:00:00Z", None)
    # At 13:29 the edge is 11:00, which does not count any more.
    assert point_in_time(reads, asked, [COUNT])["clicks_count_2h"].to_pylist() == [1, 0, 0, 2, 0, None]


def test_nobody_knows_of_an_entity_without_events(reads: DuckReads) -> None:
    joined = point_in_time(reads, _rows(NOON, user="nobody"), [COUNT, PAID])
    assert (joined["clicks_count_2h"].to_pylist(), joined["paid_clicks"].to_pylist()) == ([0], [None])


def test_no_questions_have_columns(reads: DuckReads) -> None:
    none = _rows(NOON).slice(0, 0)
    assert point_in_time(reads, none, [COUNT, PAID]).column_names[-2:] == ["clicks_count_2h", "paid_clicks"]


@pytest.mark.parametrize(
    ("input_versions", "filter_versions", "count", "paid"),
    [([1], [1], 2, 4), ([2], [2], 1, None), ([1, 2], [1], 3, 4), ([1], [2], 2, None), ([], [], 0, None)],
)
def test_a_version_sees_what_it_computed(
    reads: DuckReads, input_versions: list[int], filter_versions: list[int], count: int, paid: float | None
) -> None:
    terms = Terms(versions={"clicks": input_versions, "paid": filter_versions})
    joined = point_in_time(reads, _rows(NOON), [COUNT, PAID], terms)
    assert (joined["clicks_count_2h"].to_pylist(), joined["paid_clicks"].to_pylist()) == ([count], [paid])


def test_as_many_different_values_as_are_counted(reads: DuckReads) -> None:
    assert point_in_time(reads, _rows(NOON, user="few"), [DISTINCT])["many_count_distinct_2h"].to_pylist() == [MAX_DISTINCT]


def test_more_are_an_error_and_no_estimate(reads: DuckReads) -> None:
    with pytest.raises(Refused, match=r"^feature 'many_count_distinct_2h': a window has 10,001 different values"):
        point_in_time(reads, _rows(NOON, user="many"), [DISTINCT])


class Recorded:
    """A snapshot that keeps what it is asked, and knows one question."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, Mapping[str, Any]]] = []

    def query(self, sql: str, parameters: Mapping[str, Any]) -> pa.Table:
        self.queries.append((sql, parameters))
        return pa.table({"n": [0], "v0": [1], "v1": [1]})


def test_aggregations_of_one_input_are_one_query() -> None:
    snapshot = Recorded()
    aggregated(snapshot, Questions("asked", 0, 0), [COUNT, PAID, spec(Aggregation("clicks", "sum", 7 * 24 * HOUR))], Terms())
    assert [(asked.get("filter"), sql.count("PRECEDING")) for sql, asked in snapshot.queries] == [(None, 2), ("paid", 1)]


def test_only_the_windows_of_the_questions_are_scanned() -> None:
    snapshot, hour = Recorded(), 3_600_000_000
    longer = spec(Aggregation("clicks", "sum", 5 * HOUR, HOUR))
    aggregated(snapshot, Questions("asked", 100 * hour + 5, 200 * hour), [COUNT, longer], Terms())
    [(_, asked)] = snapshot.queries
    assert asked == {"input": "clicks", "first": 95 * hour + 1, "last": 200 * hour}


def test_a_limit_for_each_row(reads: DuckReads) -> None:
    asked = _rows(NOON, NOON, NOON).append_column("seen", pa.array(["2026-05-01T11:00:00Z", "2026-05-01T11:00:01Z", None]))
    joined = point_in_time(reads, asked, [COUNT], Terms(known_at_column="seen"))
    assert joined["clicks_count_2h"].to_pylist() == [0, 1, None]
