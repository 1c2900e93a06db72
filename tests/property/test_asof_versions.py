"""Point-in-time joins under a registry version against a dictionary and a loop: several versions, superseded rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.serving.asof import Terms, point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from tests.property.test_asof_oracle import SPECS, Asked, Row, asked, expected, rows, store

#: The registry version of each source: two of the same, one of another.
VERSIONS = {1: 1, 2: 1, 3: 2}
USERS = [spec for spec in SPECS if spec.join_key == "user"]

# Of each feature the versions that compute it as the asked one does; none for a version that does not know it.
alike = st.fixed_dictionaries({spec.name: st.sets(st.integers(1, 3)).map(sorted) for spec in USERS})


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDatabase]:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path_factory.mktemp("asof") / "f.duckdb")))
    with database.cursor() as cursor:
        for source, version in VERSIONS.items():
            cursor.execute("INSERT INTO sources VALUES (?, 'stream', 't', 0, NULL, ?, NULL, 0, NULL)", [source, version])
    yield database
    database.close()


def supersede(database: DuckDatabase, gone: Sequence[bool]) -> None:
    """Move those rows of `features`, in their order by source, position and feature, to where a backfill puts them."""
    with database.cursor() as cursor:
        cursor.register("gone", pa.table({"n": pa.array([n for n, one in enumerate(gone, 1) if one], pa.int64())}))
        cursor.execute("""CREATE TEMP TABLE moved AS SELECT * EXCLUDE (n) FROM (
            SELECT *, row_number() OVER (ORDER BY source_id, position, feature_name) AS n FROM features
        ) WHERE n IN (SELECT n FROM gone)""")
        cursor.execute("DELETE FROM superseded")
        cursor.execute("INSERT INTO superseded BY NAME SELECT *, 9 AS superseded_by, created_at AS superseded_at FROM moved")
        cursor.execute(
            "DELETE FROM features WHERE (source_id, position, feature_name) IN "
            "(SELECT (source_id, position, feature_name) FROM moved)"
        )
        cursor.execute("DROP TABLE moved")


def found(database: DuckDatabase, questions: list[Asked], versions: Mapping[str, Sequence[int]] | None) -> pa.Table:
    entity_rows = pa.table(
        {
            "user": pa.array([q.user for q in questions], pa.string()),
            "event_timestamp": pa.array([q.time for q in questions], pa.timestamp("us")),
        },
    )
    return point_in_time(DuckReads(database, OfflineStoreConfig()), entity_rows, USERS, Terms(versions=versions))


@settings(max_examples=60, deadline=None)
@given(rows, asked, alike, st.lists(st.booleans(), min_size=40, max_size=40))
@example(
    [Row("1", "plain", 5, 5, 0, 1, 1.0), Row("1", "plain", 5, 6, 0, 3, 2.0)],
    [Asked("1", None, 7)],
    {"plain": [1], "short": [2]},
    [True] + [False] * 39,
)
def test_a_version_takes_what_its_definitions_computed_and_nothing_else(
    database: DuckDatabase, history: list[Row], questions: list[Asked], versions: dict[str, list[int]], gone: list[bool]
) -> None:
    store(database, history)
    supersede(database, gone[: len(history)])
    joined = found(database, questions, versions)
    for spec in USERS:
        computed = [r for r in history if VERSIONS[r.source_id] in versions[spec.name]]  # wherever it lies now
        assert joined[spec.name].to_pylist() == [expected(computed, spec, q.user, q.time, None) for q in questions], spec.name

    as_it_is = found(database, questions, None)
    in_order = sorted(history, key=lambda r: (r.source_id, r.position, r.feature))
    left = [r for r, one in zip(in_order, gone, strict=False) if not one]
    for spec in USERS:
        assert as_it_is[spec.name].to_pylist() == [expected(left, spec, q.user, q.time, None) for q in questions], spec.name
