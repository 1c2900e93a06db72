"""Validation of typed columns, as files bring them."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from cluster.config import IngestConfig
from cluster.errors import Misconfigured
from cluster.ingest.parsed import Parsed, Validator
from cluster.ingest.validate import compile_validator
from cluster.records import Reason
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Long, Wide

NOW = 1_767_225_600_000_000
AT = datetime(2025, 5, 1, 10, tzinfo=UTC)
AT_US = 1_746_093_600_000_000
USER = Entity("user", "user_id")


def validator_of(*fields: Field, created_at: str | None = None) -> Validator:
    declared = fields or (Field("amount"),)
    source = FileSource("s", Wide("user_id", "at", declared, created_at=created_at))
    numbers = [field for field in declared if field.dtype is not DType.STRING]
    return compile_validator(source, build("p", [FeatureView("v", USER, source, numbers)]), IngestConfig())


def parsed_of(rows: int, **columns: pa.Array) -> Parsed:
    good = {
        "user_id": pa.array([f"u{row}" for row in range(rows)]),
        "at": pa.array([AT] * rows, pa.timestamp("ms", "UTC")),
        "amount": pa.array([1.5] * rows),
    }
    return Parsed(np.arange(10, 10 + rows), np.full(rows, 77), good | columns)


def faults_of(validate: Validator, parsed: Parsed) -> list[tuple[int, Reason]]:
    return [(index, reason) for index, reason, _ in validate(parsed, NOW)[2]]


def test_valid_rows_pass_untouched_and_kept_says_which() -> None:
    amounts = pa.array([1.0, float("nan"), None, 4.0])
    events, kept, faults = validator_of()(parsed_of(4, amount=amounts), NOW)
    assert kept.tolist() == [0, 3]
    assert events.position.to_pylist() == [10, 13]
    assert events.entity_id.to_pylist() == ["u0", "u3"]
    assert events.columns["amount"].to_pylist() == [1.0, 4.0]
    assert events.event_timestamp.cast(pa.int64()).to_pylist() == [AT_US, AT_US]
    assert events.created_at.cast(pa.int64()).to_pylist() == [77, 77]
    assert [(index, reason) for index, reason, _ in faults] == [(1, Reason.NOT_FINITE), (2, Reason.MISSING_FIELD)]


def test_the_first_fault_in_the_documented_order_counts() -> None:
    parsed = parsed_of(
        4,
        user_id=pa.array(["", "ok", "ok", "ok"]),
        at=pa.array([-1, -1, AT_US, AT_US]),
        made=pa.array([-1, -1, -1, None], pa.int64()),
        amount=pa.array([None, None, None, None], pa.float64()),
    )
    expected = [Reason.BAD_ENTITY_ID, Reason.BAD_TIME, Reason.BAD_TIME, Reason.MISSING_FIELD]
    _, _, faults = validator_of(created_at="made")(parsed, NOW)
    assert [reason for _, reason, _ in faults] == expected
    assert [detail.split("'")[1] for _, _, detail in faults] == ["user_id", "at", "made", "amount"]


def test_a_column_that_a_file_lacks_counts_as_missing_unless_optional() -> None:
    validate = validator_of(Field("amount"), Field("note", DType.STRING, optional=True), Field("need", DType.INT64))
    _, _, faults = validate(parsed_of(2), NOW)
    assert [(index, reason, detail) for index, reason, detail in faults] == [
        (0, Reason.MISSING_FIELD, "'need' is missing"),
        (1, Reason.MISSING_FIELD, "'need' is missing"),
    ]
    events, _, _ = validate(parsed_of(2, need=pa.array([1, 2])), NOW)
    assert events.columns["note"].to_pylist() == [None, None]
    assert events.columns["note"].type == pa.string()


def test_slices_of_columns_are_read_where_they_begin() -> None:
    ids = pa.array(["bad\n", "a", "b", "c" * 300]).slice(1, 2)
    events, _, faults = validator_of()(parsed_of(2, user_id=ids), NOW)
    assert faults == []
    assert events.entity_id.to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("limits", "values", "wrong"),
    [
        (Field("n", DType.INT64, minimum=2.5), [2, 3, 2**62], [0]),
        (Field("n", DType.INT64, maximum=2.5), [2, 3, -(2**62)], [1]),
        (Field("n", DType.INT64, maximum=1e300), [2**63 - 1, -(2**63)], []),
        (Field("n", DType.INT64, maximum=2**53), [2**53, 2**53 + 1], [1]),
        (Field("n", DType.INT64, allowed=(1, 2)), [1, 3, 2], [1]),
        (Field("n", minimum=0.5, maximum=0.5), [0.5, 0.4, 0.6], [1, 2]),
        (Field("n", allowed=(0.5, 1)), [1.0, 0.5, 2.0], [2]),
        (Field("n", DType.STRING, allowed=("a",)), ["a", "A", ""], [1, 2]),
        (Field("n", DType.STRING, allowed=("a",), optional=True), [None, "b"], [1]),
        (Field("n", minimum=0, optional=True), [None, -1.0], [1]),
    ],
)
def test_bounds_are_inclusive_and_exact(limits: Field, values: list[object], wrong: list[int]) -> None:
    kinds = {DType.INT64: pa.int64(), DType.FLOAT64: pa.float64(), DType.STRING: pa.string()}
    parsed = parsed_of(len(values), n=pa.array(values, kinds[limits.dtype]))
    assert faults_of(validator_of(Field("amount"), limits), parsed) == [(row, Reason.OUT_OF_RANGE) for row in wrong]


def test_a_time_may_be_as_far_ahead_as_the_configured_skew_and_no_further() -> None:
    skew = IngestConfig().max_future_skew_s * 1_000_000
    assert faults_of(validator_of(), parsed_of(2, at=pa.array([NOW + skew, NOW + skew + 1]))) == [(1, Reason.TIME_IN_FUTURE)]


def test_long_rows_from_a_file_are_checked_alike() -> None:
    source = FileSource("s", Long())
    catalog = build("p", [FeatureView("v", USER, source, [Field("risk", maximum=1), Field("age")])])
    columns = {
        "entity_id": pa.array(["a", "b", "c", None]),
        "feature_name": pa.array(["age", "risk", "nope", "age"]),
        "value": pa.array([5.0, 5.0, 5.0, 5.0]),
        "event_timestamp": pa.array(["2025-05-01"] * 4),
    }
    parsed = Parsed(np.arange(4), np.full(4, 77), columns)
    events, _, faults = compile_validator(source, catalog, IngestConfig())(parsed, NOW)
    assert events.columns["feature_name"].to_pylist() == ["age"]
    expected = [(1, Reason.OUT_OF_RANGE), (2, Reason.UNKNOWN_FEATURE), (3, Reason.MISSING_FIELD)]
    assert [(index, reason) for index, reason, _ in faults] == expected


def test_allowed_values_that_the_type_cannot_hold_are_refused_when_compiled() -> None:
    with pytest.raises(Misconfigured, match="'n'"):
        validator_of(Field("n", DType.INT64, allowed=(1, 2.5)))
