"""What good records become."""

import json

import numpy as np
import pyarrow as pa
import pytest

from cluster.config import IngestConfig
from cluster.ingest.decode import compile_decoder
from cluster.records import Events, Records
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, Long, StreamSource, Wide

NOW = 1_767_225_600_000_000  # 2026-01-01
RECEIVED = NOW - 5_000_000
AT = 1_746_093_600_000_000  # 2025-05-01T10:00:00Z
USER = Entity("user", "user_id")


def events_of(shape: Long | Wide, records: list[dict[str, object] | bytes]) -> Events:
    source = StreamSource("s", "topic", shape)
    views = [
        FeatureView("a", USER, source, [Field("risk"), Field("age")]),
        FeatureView("b", USER, source, [Field("clicks")]),
    ]
    wide_view = [FeatureView("a", USER, source, [Field("amount")])]
    catalog = build("p", views if isinstance(shape, Long) else wide_view)
    values = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    raw = Records(7, 7 + len(values), 7 + np.arange(len(values)), values, np.full(len(values), RECEIVED))
    events, rejected = compile_decoder(source, catalog, IngestConfig())(raw, NOW)
    assert rejected == []
    return events


def long_record(**changes: object) -> dict[str, object]:
    return {"entity_id": "u", "feature_name": "risk", "value": 1, "event_timestamp": "2025-05-01T10:00:00Z"} | changes


def test_a_long_record_becomes_a_row_of_typed_columns() -> None:
    events = events_of(Long(), [long_record(), long_record(entity_id="v", feature_name="clicks", value=None)])
    assert events.entity_id.to_pylist() == ["u", "v"]
    assert events.position.to_pylist() == [7, 8]
    assert events.event_timestamp.type == events.created_at.type == pa.timestamp("us")
    assert events.event_timestamp.cast(pa.int64()).to_pylist() == [AT, AT]
    assert events.created_at.cast(pa.int64()).to_pylist() == [RECEIVED, RECEIVED]
    assert events.columns["value"].type == pa.float64()
    assert events.columns["value"].to_pylist() == [1.0, None]
    assert events.columns["feature_name"].to_pylist() == ["risk", "clicks"]


def test_feature_names_use_the_sources_fixed_dictionary_whatever_the_batch_holds() -> None:
    names = events_of(Long(), [long_record(feature_name="clicks")]).columns["feature_name"]
    assert names.type == pa.dictionary(pa.int16(), pa.string())
    assert names.dictionary.to_pylist() == ["risk", "age", "clicks"]


def test_a_batch_without_events_keeps_its_types() -> None:
    full, empty = events_of(Long(), [long_record()]), events_of(Long(), [])
    for column in ("entity_id", "event_timestamp", "created_at", "position"):
        assert getattr(empty, column).type == getattr(full, column).type
    assert {n: c.type for n, c in empty.columns.items()} == {n: c.type for n, c in full.columns.items()}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("user 1", "user 1"),
        (17, "17"),
        (-1, "-1"),
        (2**70, str(2**70)),
        ("é" * 256, "é" * 256),
        ("日本", "日本"),
        ("x" * 256, "x" * 256),
    ],
)
def test_an_entity_id_is_text_or_an_integer_that_becomes_text(given: object, kept: str) -> None:
    assert events_of(Long(), [long_record(entity_id=given), long_record()]).entity_id.to_pylist() == [kept, "u"]


@pytest.mark.parametrize(("unit", "number"), [("s", AT // 10**6), ("ms", AT // 1000), ("us", AT)])
@pytest.mark.parametrize("neighbour", ["2025-05-01T12:00:00+02:00", "2025-05-01 10:00:00", None])
def test_times_are_text_or_numbers_in_the_declared_unit_also_mixed(unit: str, number: int, neighbour: str | None) -> None:
    other = number if neighbour is None else neighbour
    records: list[dict[str, object] | bytes] = [long_record(event_timestamp=number), long_record(event_timestamp=other)]
    events = events_of(Long(timestamp_unit=unit), records)
    assert events.event_timestamp.cast(pa.int64()).to_pylist() == [AT, AT]


def test_created_at_is_the_records_own_or_the_time_of_its_message() -> None:
    given: list[dict[str, object] | bytes] = [long_record(made="2025-05-01T10:00:00Z"), long_record(), long_record(made=None)]
    events = events_of(Long(created_at="made"), given)
    assert events.created_at.cast(pa.int64()).to_pylist() == [AT, RECEIVED, RECEIVED]


def test_the_last_of_a_repeated_name_counts() -> None:
    record = b'{"entity_id":"a","entity_id":"b","feature_name":"risk","value":1,"event_timestamp":"2025-05-01T10:00:00Z"}'
    assert events_of(Long(), [record]).entity_id.to_pylist() == ["b"]


def test_a_wide_record_becomes_a_column_for_each_declared_field() -> None:
    shape = Wide(
        join_key="user_id",
        event_timestamp="at",
        fields=(
            Field("amount"),
            Field("currency", DType.STRING),
            Field("items", DType.INT64, optional=True),
            Field("gift", DType.BOOL, optional=True),
        ),
    )
    full = {"user_id": 1, "at": AT, "amount": 2, "currency": "EUR", "items": 2**60 + 1, "gift": True}
    bare = {"user_id": "b", "at": AT, "amount": 0.5, "currency": "", "items": None}
    events = events_of(shape, [full, bare])
    assert events.entity_id.to_pylist() == ["1", "b"]
    assert {name: (str(c.type), c.to_pylist()) for name, c in events.columns.items()} == {
        "amount": ("double", [2.0, 0.5]),
        "currency": ("string", ["EUR", ""]),
        "items": ("int64", [2**60 + 1, None]),
        "gift": ("bool", [True, None]),
    }


DEFAULTS = Wide(
    "user_id",
    "at",
    (
        Field("amount", default=1),
        Field("count", DType.INT64, default=2**53 + 1, minimum=0),
        Field("currency", DType.STRING, default="EUR", allowed=("EUR", "USD")),
        Field("paid", DType.BOOL, default=False),
    ),
)


@pytest.mark.parametrize("left_out", [{}, {"amount": None, "count": None, "currency": None, "paid": None}])
def test_a_default_stands_for_a_missing_or_null_value(left_out: dict[str, object]) -> None:
    given = {"user_id": "u", "at": AT, "amount": 5.5, "count": 3, "currency": "USD", "paid": True}
    events = events_of(DEFAULTS, [{"user_id": "u", "at": AT, **left_out}, given])
    assert {name: column.to_pylist() for name, column in events.columns.items()} == {
        "amount": [1.0, 5.5],
        "count": [2**53 + 1, 3],
        "currency": ["EUR", "USD"],
        "paid": [False, True],
    }
    assert [column.type for column in events.columns.values()] == [pa.float64(), pa.int64(), pa.string(), pa.bool_()]


@pytest.mark.parametrize(("name", "reason"), [("currency", "out_of_range"), ("count", "wrong_type"), ("amount", "wrong_type")])
def test_a_default_does_not_stand_for_a_wrong_value(name: str, reason: str) -> None:
    catalog = build("p", [FeatureView("a", USER, StreamSource("s", "topic", DEFAULTS), [Field("amount")])])
    value = json.dumps({"user_id": "u", "at": AT, name: "CHF"}).encode()
    raw = Records(7, 8, np.array([7]), [value], np.array([RECEIVED]))
    _, rejected = compile_decoder(catalog.source("s"), catalog, IngestConfig())(raw, NOW)
    assert [reject.reason for reject in rejected] == [reason]
