from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from cluster.ingest.merge import newest, online_rows
from cluster.records import ROWS_SCHEMA

Row = tuple[str, str, float | None, int, int]


def table(*rows: Row) -> pa.Table:
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    return pa.table([*columns, list(range(len(rows)))], names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)


def positions(rows: pa.Table) -> list[int]:
    kept: list[int] = rows.column("position").to_pylist()
    return kept


def test_keeps_the_greatest_event_time_wherever_it_stands() -> None:
    rows = table(("a", "x", 1.0, 5, 0), ("a", "x", 2.0, 9, 0), ("a", "x", 3.0, 7, 9))
    assert positions(newest(rows)) == [1]


def test_the_later_created_wins_among_equal_event_times() -> None:
    rows = table(("a", "x", 1.0, 5, 8), ("a", "x", 2.0, 5, 9), ("a", "x", 3.0, 5, 7))
    assert positions(newest(rows)) == [1]


def test_the_last_wins_among_equals() -> None:
    rows = table(("a", "x", 1.0, 5, 8), ("b", "x", 2.0, 5, 8), ("a", "x", 3.0, 5, 8))
    assert sorted(positions(newest(rows))) == [1, 2]


def test_a_null_replaces_a_value() -> None:
    assert newest(table(("a", "x", 1.0, 5, 0), ("a", "x", None, 6, 0))).column("value").to_pylist() == [None]


def test_groups_by_entity_in_order_of_appearance() -> None:
    rows = table(("b", "x", 1.0, 5, 0), ("a", "x", 1.0, 5, 0), ("b", "y", 1.0, 5, 0), ("a", "y", 1.0, 5, 0))
    assert newest(rows).column("entity_id").to_pylist() == ["b", "b", "a", "a"]


def test_times_before_1970_are_ordered_too() -> None:
    assert positions(newest(table(("a", "x", 1.0, -5, 0), ("a", "x", 2.0, -9, 0)))) == [0]


def test_a_table_without_repeats_is_returned_as_it_is() -> None:
    rows = table(("a", "x", 1.0, 5, 0), ("a", "y", 1.0, 5, 0), ("b", "x", 1.0, 5, 0))
    assert newest(rows).equals(rows)


def test_chunks_with_different_dictionaries_are_one_table() -> None:
    rows = pa.concat_tables([table(("a", "x", 1.0, 5, 0)), table(("a", "y", 2.0, 5, 0)), table(("a", "x", 3.0, 6, 0))])
    assert sorted(newest(rows).column("value").to_pylist()) == [2.0, 3.0]


def test_a_dictionary_with_many_more_names_than_rows() -> None:
    rows = table(("a", "x", 1.0, 5, 0), ("a", "y", 2.0, 5, 0), ("a", "x", 3.0, 6, 0))
    names = rows.column("feature_name").combine_chunks()
    many = pa.DictionaryArray.from_arrays(
        pa.array([900, 7, 900], pa.int16()),
        pa.array(["y" if i == 7 else "x" if i == 900 else f"unused_{i}" for i in range(1000)]),
    )
    assert many.to_pylist() == names.to_pylist()
    assert newest(rows.set_column(1, ROWS_SCHEMA.field(1), many)).column("value").to_pylist() == [2.0, 3.0]


def test_no_rows() -> None:
    assert newest(ROWS_SCHEMA.empty_table()).equals(ROWS_SCHEMA.empty_table())
    assert online_rows(ROWS_SCHEMA.empty_table(), ["x"]).equals(ROWS_SCHEMA.empty_table())


def test_the_schema_stays() -> None:
    stamp = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    rows = table(("a", "x", 1.0, stamp, stamp), ("a", "x", 1.0, stamp, stamp))
    assert newest(rows).schema == ROWS_SCHEMA
    assert online_rows(rows, []).schema == ROWS_SCHEMA


@pytest.mark.parametrize(
    ("online", "expected"), [(["x"], [0, 2]), (["y"], [1]), (["x", "y"], [0, 1, 2]), ([], []), (["z"], [])]
)
def test_online_rows(online: list[str], expected: list[int]) -> None:
    rows = table(("a", "x", 1.0, 5, 0), ("a", "y", 1.0, 5, 0), ("b", "x", 1.0, 5, 0))
    assert positions(online_rows(rows, online)) == expected
