"""Joins of features that share their records, all or some of them, against a dictionary and a loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.registry.catalog import FeatureSpec
from cluster.serving import asof_queries
from cluster.serving.asof import Terms, point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from tests.property.test_asof_oracle import TTL, Row, expected, store

SPECS = [
    FeatureSpec(name, "v", "user", "user", "s", online=True, ttl_us=ttl, field=None)
    for name, ttl in (("a", None), ("b", None), ("c", None), ("x", TTL), ("y", TTL))
]


class Record(NamedTuple):
    entity_id: str
    event: int
    created: int
    position: int
    source_id: int
    without: str  # the feature that has no value of it; none if empty

    def rows(self) -> list[Row]:
        names = [spec.name for spec in SPECS if spec.name != self.without]
        place = self.event, self.created, self.position, self.source_id
        return [Row(self.entity_id, name, *place, None if (n + self.event) % 7 == 0 else n) for n, name in enumerate(names)]


records = st.lists(
    st.builds(
        Record,
        entity_id=st.sampled_from(["1", "2"]),
        event=st.integers(0, 20),
        created=st.integers(0, 20),
        position=st.integers(0, 5),
        source_id=st.integers(1, 2),
        without=st.sampled_from(["", "", "", "", "b", "y"]),
    ),
    max_size=12,
    unique_by=lambda r: (r.source_id, r.position),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDatabase]:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path_factory.mktemp("asof") / "f.duckdb")))
    with database.cursor() as cursor:
        for source in (1, 2):
            cursor.execute("INSERT INTO sources VALUES (?, 'stream', 't', 0, NULL, ?, NULL, 0, NULL)", [source, source])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asof_queries, "MANY", 0)
        yield database
    database.close()


@settings(max_examples=60, deadline=None)
@given(records, st.one_of(st.none(), st.integers(0, 20)), st.one_of(st.none(), st.just([1]), st.just([1, 2])))
@example([Record("1", 5, 5, 0, 1, ""), Record("1", 5, 5, 1, 1, "b"), Record("1", 5, 6, 2, 2, "")], None, None)
def test_what_shares_records_and_what_does_not_joins_as_a_loop_finds(
    database: DuckDatabase, history: list[Record], known_at: int | None, versions: list[int] | None
) -> None:
    rows = [row for record in history for row in record.rows()]
    store(database, rows)
    asked = [(user, time) for user in ("1", "2", "3") for time in range(0, 28, 3)]
    times = pa.array([time for _, time in asked], pa.timestamp("us"))
    entity_rows = pa.table({"user": [user for user, _ in asked], "event_timestamp": times})
    of_versions = None if versions is None else {spec.name: versions for spec in SPECS}
    terms = Terms(known_at_us=known_at, versions=of_versions)

    joined = point_in_time(DuckReads(database, OfflineStoreConfig()), entity_rows, SPECS, terms)

    seen = [row for row in rows if versions is None or row.source_id in versions]
    for spec in SPECS:
        wanted = [expected(seen, spec, user, time, known_at) for user, time in asked]
        assert joined[spec.name].to_pylist() == wanted, spec.name


def test_one_search_serves_all_that_share_their_records(database: DuckDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    store(database, [row for n in range(6) for row in Record("1", n, n, n, 1, "b" if n == 3 else "").rows()])
    searched: list[str] = []
    search = asof_queries._search

    def counted(*given: Any) -> pa.Table:
        searched.append(given[2].name)
        return search(*given)

    monkeypatch.setattr(asof_queries, "_search", counted)
    entity_rows = pa.table({"user": ["1"], "event_timestamp": pa.array([9], pa.timestamp("us"))})
    point_in_time(DuckReads(database, OfflineStoreConfig()), entity_rows, SPECS)
    assert searched == ["a", "b", "x"], "c goes with a, y with x; b lacks a record"
