from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cluster.ingest.transform import Transformed, compile_transform
from cluster.ingest.watchdog import WATCHDOG
from cluster.records import ROWS_SCHEMA, Events, Reason
from cluster.registry.catalog import build
from cluster.registry.definitions import (
    DType,
    Entity,
    FeatureFunction,
    FeatureView,
    Field,
    Long,
    StreamSource,
    Wide,
    feature,
)

USER = Entity("user", "user_id")
ORDERS = StreamSource(
    "orders",
    "orders",
    Wide(
        "user_id",
        "at",
        (
            Field("amount"),
            Field("quantity", DType.INT64),
            Field("currency", DType.STRING),
            Field("paid", DType.BOOL),
            Field("discount", optional=True),
            Field("coupons", DType.INT64, optional=True),
            Field("gift", DType.BOOL, optional=True),
            Field("note", DType.STRING, optional=True),
        ),
        created_at="seen",
    ),
)
START = 1_767_225_600_000_000  # 2026-01-01
TYPES = {DType.FLOAT64: pa.float64(), DType.INT64: pa.int64(), DType.STRING: pa.string(), DType.BOOL: pa.bool_()}
DEFAULTS = {DType.FLOAT64: 1.0, DType.INT64: 2, DType.STRING: "EUR", DType.BOOL: True}


def orders(count: int, **columns: Sequence[Any]) -> Events:
    assert isinstance(ORDERS.records, Wide)
    return Events(
        entity_id=pa.array([f"user_{i}" for i in range(count)], pa.string()),
        event_timestamp=pa.array([START + i for i in range(count)], pa.timestamp("us")),
        created_at=pa.array([START + 1_000 + i for i in range(count)], pa.timestamp("us")),
        position=pa.array(range(10, 10 + count), pa.int64()),
        columns={
            f.name: pa.array(columns.get(f.name, [None if f.optional else DEFAULTS[f.dtype]] * count), TYPES[f.dtype])
            for f in ORDERS.records.fields
        },
    )


def run(events: Events, *features: Field | FeatureFunction, timeout_s: float = 60) -> Transformed:
    view = FeatureView("view", USER, ORDERS, features)
    return compile_transform(build("project", [view]), "orders", timeout_s)(events)


def values(done: Transformed, name: str) -> list[float | None]:
    return [row["value"] for row in done.rows.to_pylist() if row["feature_name"] == name]


def details(done: Transformed) -> dict[int, str]:
    assert all(reason is Reason.TRANSFORM_FAILED for _, reason, _ in done.faults)
    return {event: detail for event, _, detail in done.faults}


@feature(mode="pandas")
def total(amount: pd.Series[float], quantity: pd.Series[int]) -> pd.Series[float]:
    return amount * quantity


@feature(mode="numpy")
def total_log(total: Any) -> Any:
    return np.log(total)


@feature()
def large(total: float | None, currency: str) -> bool | None:
    return None if total is None else total > 5 and currency == "EUR"


class TestLong:
    def test_the_columns_are_the_rows(self) -> None:
        source = StreamSource("features", "features", Long())
        view = FeatureView("view", USER, source, [Field("a"), Field("b")])
        transform = compile_transform(build("project", [view]), "features")
        names = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int16()), pa.array(["a", "b"]))
        given = orders(2)
        events = Events(
            given.entity_id,
            given.event_timestamp,
            given.created_at,
            given.position,
            {"feature_name": names, "value": pa.array([1.5, None])},
        )
        done = transform(events)
        assert done.rows.schema == ROWS_SCHEMA
        assert (done.events, done.faults) == (2, [])
        assert [(r["feature_name"], r["value"], r["position"]) for r in done.rows.to_pylist()] == [
            ("b", 1.5, 10),
            ("a", None, 11),
        ]
        assert done.rows["value"].chunk(0).buffers()[1].address == events.columns["value"].buffers()[1].address


class TestWide:
    def test_a_graph_of_all_modes_makes_a_row_for_each_event_and_feature(self) -> None:
        done = run(orders(3, amount=[1.0, 2.0, 4.0]), large, total_log, total)
        assert done.rows.schema == ROWS_SCHEMA
        assert (done.events, done.faults) == (3, [])
        assert values(done, "total") == [2.0, 4.0, 8.0]
        assert values(done, "total_log") == pytest.approx(np.log([2.0, 4.0, 8.0]))
        assert values(done, "large") == [0.0, 0.0, 1.0]

    def test_rows_keep_who_when_and_where(self) -> None:
        row = run(orders(2), total).rows.to_pylist()[1]
        assert row["entity_id"] == "user_1"
        assert row["position"] == 11
        assert pd.Timestamp(row["event_timestamp"]) == pd.Timestamp(START + 1, unit="us")
        assert pd.Timestamp(row["created_at"]) == pd.Timestamp(START + 1_001, unit="us")

    def test_feature_names_are_a_fixed_dictionary_in_the_catalogs_order(self) -> None:
        rows = run(orders(2), total_log, total).rows
        assert rows["feature_name"].chunk(0).dictionary.to_pylist() == ["total_log", "total"]

    def test_without_events_no_function_is_called(self) -> None:
        called: list[Any] = []

        def look(amount: Any) -> Any:
            called.append(amount)
            return amount

        done = run(orders(0), feature("pandas")(look))
        assert (done.rows.num_rows, done.events, done.faults, done.rows.schema, called) == (0, 0, [], ROWS_SCHEMA, [])

    def test_declared_fields_are_taken_as_numbers(self) -> None:
        done = run(
            orders(2, paid=[True, False], coupons=[3, None]), Field("paid", DType.BOOL), Field("coupons"), Field("quantity")
        )
        assert values(done, "paid") == [1.0, 0.0]
        assert values(done, "coupons") == [3.0, None]
        assert values(done, "quantity") == [2.0, 2.0]

    def test_two_views_of_a_source_both_give_rows(self) -> None:
        views = [FeatureView("b", USER, ORDERS, [Field("amount")]), FeatureView("a", USER, ORDERS, [total])]
        done = compile_transform(build("project", views), "orders")(orders(2))
        assert [r["feature_name"] for r in done.rows.to_pylist()] == ["total", "total", "amount", "amount"]

    def test_a_source_without_views_gives_no_rows(self) -> None:
        done = compile_transform(build("project", [ORDERS]), "orders")(orders(2))
        assert (done.rows.num_rows, done.events) == (0, 2)


class TestInputs:
    def test_row_functions_see_python_values(self) -> None:
        given: list[Any] = []

        def look(user_id: Any, at: Any, seen: Any, amount: Any, quantity: Any, currency: Any, paid: Any, note: Any) -> None:  # noqa: PLR0917 - all kinds at once
            given.extend([user_id, at, seen, amount, quantity, currency, paid, note])

        run(orders(1), feature()(look))
        at = datetime(2026, 1, 1, tzinfo=UTC)
        assert given == ["user_0", at, at.replace(microsecond=1_000), 1.0, 2, "EUR", True, None]
        assert [type(g) for g in given[3:7]] == [float, int, str, bool]

    def test_row_functions_see_optional_numbers_as_declared(self) -> None:
        seen: list[Any] = []

        def look(coupons: Any) -> None:
            seen.append(coupons)

        run(orders(2, coupons=[3, None]), feature()(look))
        assert seen == [3.0, None]

    @pytest.mark.parametrize("mode", ["pandas", "numpy"])
    @pytest.mark.parametrize("nulls", [0, 1])
    def test_types_follow_the_declaration_whether_or_not_the_batch_has_nulls(self, mode: str, nulls: int) -> None:
        seen: list[str] = []

        def look(amount: Any, quantity: Any, paid: Any, discount: Any, coupons: Any, gift: Any) -> Any:  # noqa: PLR0917
            seen.extend(str(x.dtype) for x in (amount, quantity, paid, discount, coupons, gift))
            return amount

        holes = [None] * nulls
        run(orders(2 + nulls, coupons=[3, 4, *holes], gift=[True, False, *holes]), feature(mode)(look))
        assert seen == ["float64", "int64", "bool", "float64", "float64", "float64"]

    def test_times_and_text_in_columns(self) -> None:
        seen: list[Any] = []

        def pandas_look(at: Any, note: Any, amount: Any) -> Any:
            seen.extend([str(at.dtype), note.isna().tolist(), list(amount.index)])
            return amount

        def numpy_look(at: Any, note: Any, amount: Any) -> Any:
            seen.extend([str(at.dtype), note.tolist()])
            return amount

        run(orders(2, note=["x", None]), feature("pandas")(pandas_look), feature("numpy")(numpy_look))
        assert seen == ["datetime64[us, UTC]", [False, True], [0, 1], "datetime64[us]", ["x", None]]

    def test_a_series_may_be_changed_without_harm_to_others(self) -> None:
        def first(amount: Any) -> Any:
            amount[amount > 1] = 0
            return amount

        def second(amount: Any, first: Any) -> Any:
            first.iloc[0] = 99
            return amount

        events = orders(2, amount=[1.0, 2.0])
        done = run(events, feature("pandas")(first), feature("pandas")(second), Field("amount"))
        assert values(done, "first") == [1.0, 0.0]
        assert values(done, "second") == values(done, "amount") == [1.0, 2.0]
        assert events.columns["amount"].to_pylist() == [1.0, 2.0]

    @pytest.mark.parametrize("name", ["amount", "quantity", "paid", "currency", "discount", "at"])
    def test_arrays_cannot_be_changed(self, name: str) -> None:
        source = f"def change({name}):\n    {name}[0] = {name}[1]\n    return {name}"
        scope: dict[str, Any] = {}
        exec(source, scope)  # noqa: S102 - the parameter's name is the test's parameter
        done = run(orders(2), feature("numpy")(scope["change"]))
        assert "read-only" in details(done)[0] or "IndexError" in details(done)[0]
        assert done.events == 0

    def test_an_array_that_a_function_writes_to_again_is_copied(self) -> None:
        scratch = np.empty(2)

        def double(amount: Any) -> Any:
            return np.multiply(amount, 2, out=scratch)

        def triple(amount: Any, double: Any) -> Any:  # noqa: ARG001 - makes it run second
            return np.multiply(amount, 3, out=scratch)

        done = run(orders(2), feature("numpy")(double), feature("numpy")(triple))
        assert (values(done, "double"), values(done, "triple")) == ([2.0, 2.0], [3.0, 3.0])


class TestResults:
    @pytest.mark.parametrize(
        ("result", "value"),
        [
            (1, 1.0),
            (1.5, 1.5),
            (True, 1.0),
            (None, None),
            (float("nan"), None),
            (np.float32(0.5), 0.5),
            (np.int8(3), 3.0),
            (np.bool_(True), 1.0),
            (Decimal("2.5"), 2.5),
            (pd.NA, None),
            (pd.NaT, None),
        ],
    )
    def test_numbers_bools_and_nulls_of_a_row_function(self, result: object, value: float | None) -> None:
        assert values(run(orders(1), feature(name="f")(lambda amount: amount and result)), "f") == [value]

    @pytest.mark.parametrize(
        ("result", "detail"),
        [
            ("1.5", "f: returned str, not a number"),
            (1j, "f: returned complex, not a number"),
            ([1.0], "f: returned list, not a number"),
            (np.array(1.0), "f: returned ndarray, not a number"),
            (10**400, "f: OverflowError: int too large to convert to float"),
            (float("inf"), "f: infinite value"),
            (float("-inf"), "f: infinite value"),
        ],
    )
    def test_anything_else_of_a_row_function_is_a_fault_of_its_event(self, result: object, detail: str) -> None:
        done = run(orders(3, amount=[1.0, 2.0, 3.0]), feature(name="f")(lambda amount: result if amount == 2 else amount))
        assert details(done) == {1: detail}
        assert values(done, "f") == [1.0, 3.0]

    @pytest.mark.parametrize(
        "dtype",
        ["float32", "int8", "uint64", "bool", "Int64", "Float64", "boolean", "int64[pyarrow]", "double[pyarrow]", "object"],
    )
    def test_numeric_series_become_doubles(self, dtype: str) -> None:
        assert values(run(orders(2), feature("pandas", name="f")(lambda amount: amount.astype(dtype))), "f") == [1.0, 1.0]

    @pytest.mark.parametrize("dtype", ["float64", "Int64", "Float64", "boolean", "double[pyarrow]", "object", "str"])
    def test_missing_values_of_a_series_are_null(self, dtype: str) -> None:
        f = feature("pandas", name="f")(lambda amount: pd.Series([None] * len(amount), dtype=dtype))
        assert values(run(orders(2), f), "f") == [None, None]

    @pytest.mark.parametrize("dtype", ["float32", "int8", "uint64", "bool", "object"])
    def test_numeric_arrays_become_doubles(self, dtype: str) -> None:
        assert values(run(orders(2), feature("numpy", name="f")(lambda amount: amount.astype(dtype))), "f") == [1.0, 1.0]

    def test_a_masked_array_has_nulls(self) -> None:
        f = feature("numpy", name="f")(lambda amount: np.ma.masked_less(amount, 2))
        assert values(run(orders(2, amount=[1.0, 2.0]), f), "f") == [None, 2.0]

    @pytest.mark.parametrize(
        ("mode", "function", "detail"),
        [
            ("pandas", lambda amount: amount.sum(), "f: returned float64, not a pandas Series"),
            ("pandas", lambda amount: amount.to_numpy(), "f: returned ndarray, not a pandas Series"),
            ("pandas", lambda amount: None, "f: returned NoneType, not a pandas Series"),  # noqa: ARG005
            ("pandas", lambda amount: amount.to_frame(), "f: returned DataFrame, not a pandas Series"),
            ("pandas", lambda amount: pd.concat([amount, amount]), "f: returned 2 values for 1 events"),
            ("pandas", lambda amount: amount.set_axis(range(1, len(amount) + 1)), "f: returned a Series with another index"),
            ("pandas", lambda amount: amount.astype(str), "f: returned str, not a number"),
            ("pandas", lambda amount: amount.astype(complex), "f: returned complex, not a number"),
            ("pandas", lambda amount: pd.to_datetime(amount + 0), "f: returned Timestamp, not a number"),
            ("numpy", lambda amount: list(amount + 0), "f: returned list, not a numpy array"),
            ("numpy", lambda amount: amount.sum(), "f: returned float64, not a numpy array"),
            ("numpy", lambda amount: amount.reshape(-1, 1), "f: returned an array of 2 dimensions, not of one"),
            ("numpy", lambda amount: amount[:0], "f: returned 0 values for 1 events"),
            ("numpy", lambda amount: amount.astype("U"), "f: returned str, not a number"),
            ("numpy", lambda amount: amount.astype("M8[s]"), "f: returned datetime, not a number"),
        ],
    )
    def test_a_wrong_result_is_a_fault_of_every_event(self, mode: str, function: Callable[..., Any], detail: str) -> None:
        done = run(orders(3), feature(mode, name="f")(function), Field("amount"))
        assert done.events == done.rows.num_rows == 0
        assert [found.startswith(detail) for found in details(done).values()] == [True] * 3


class TestOutputs:
    @pytest.mark.parametrize("mode", ["row", "pandas", "numpy"])
    def test_each_output_is_a_feature_and_an_input(self, mode: str) -> None:
        def split(amount: Any) -> Any:
            return amount * 0.75, amount * 0.25

        def whole(net: Any, tax: Any) -> Any:
            return net + tax

        functions = feature(mode)(whole), feature(mode, outputs=("net", "tax"))(split)
        done = run(orders(2, amount=[4.0, 8.0]), *functions)
        assert [values(done, name) for name in ("net", "tax", "whole")] == [[3.0, 6.0], [1.0, 2.0], [4.0, 8.0]]
        assert done.rows["feature_name"].chunk(0).dictionary.to_pylist() == ["whole", "net", "tax"]

    @pytest.mark.parametrize("result", [(1, None), (np.float32(1), float("nan"))])
    def test_an_output_may_be_null(self, result: object) -> None:
        done = run(orders(1), feature(outputs=["a", "b"])(lambda amount: amount and result))
        assert (values(done, "a"), values(done, "b")) == ([1.0], [None])

    @pytest.mark.parametrize(
        ("result", "detail"),
        [
            (1.0, "f: returned float, not a tuple of 2, for a, b"),
            (None, "f: returned NoneType, not a tuple of 2, for a, b"),
            ({"a": 1, "b": 2}, "f: returned dict, not a tuple of 2, for a, b"),
            ([1, 2], "f: returned list, not a tuple of 2, for a, b"),
            ((1,), "f: returned a tuple of 1, not a tuple of 2, for a, b"),
            ((1, "x"), "f: b: returned str, not a number"),
            (("x", float("inf")), "f: a: returned str, not a number"),
            ((1, float("inf")), "f: b: infinite value"),
        ],
    )
    def test_anything_but_a_tuple_of_numbers_is_a_fault_of_its_event(self, result: object, detail: str) -> None:
        f = feature(name="f", outputs=["a", "b"])(lambda amount: result if amount == 2 else (amount, amount))
        done = run(orders(3, amount=[1.0, 2.0, 3.0]), f)
        assert details(done) == {1: detail}
        assert values(done, "a") == values(done, "b") == [1.0, 3.0]

    @pytest.mark.parametrize(
        ("mode", "function", "detail"),
        [
            ("numpy", lambda amount: np.stack([amount, amount]), "f: returned ndarray, not a tuple of 2, for a, b"),
            ("numpy", lambda amount: (amount, amount, amount), "f: returned a tuple of 3, not a tuple of 2, for a, b"),
            ("numpy", lambda amount: (amount, amount[:0]), "f: b: returned 0 values for 1 events"),
            ("pandas", lambda amount: pd.concat([amount, amount], axis=1), "f: returned DataFrame, not a tuple of 2"),
            ("pandas", lambda amount: (amount, amount.to_numpy()), "f: b: returned ndarray, not a pandas Series"),
        ],
    )
    def test_a_wrong_result_of_a_batch_is_a_fault_of_every_event(
        self, mode: str, function: Callable[..., Any], detail: str
    ) -> None:
        done = run(orders(3), feature(mode, name="f", outputs=["a", "b"])(function))
        assert done.events == done.rows.num_rows == 0
        assert [found.startswith(detail) for found in details(done).values()] == [True] * 3

    def test_an_event_at_fault_in_one_output_has_neither(self) -> None:
        f = feature("numpy", name="f", outputs=["a", "b"])(lambda amount: (amount, 1 / amount))
        done = run(orders(3, amount=[1.0, 0.0, 2.0]), f)
        assert details(done) == {1: "f: b: infinite value"}
        assert (values(done, "a"), values(done, "b")) == ([1.0, 2.0], [1.0, 0.5])


class TestWhere:
    @pytest.mark.parametrize("mode", ["row", "pandas", "numpy"])
    def test_events_that_are_false_have_no_rows_and_are_no_rejects(self, mode: str) -> None:
        seen: list[float] = []

        def look(amount: Any) -> Any:
            seen.extend([amount] if mode == "row" else list(amount))
            return amount

        above = feature(mode)(lambda amount: amount > 1)
        view = FeatureView("view", USER, ORDERS, [feature(mode)(look), Field("quantity")], where=above)
        done = compile_transform(build("project", [view]), "orders")(orders(3, amount=[2.0, 1.0, 3.0], quantity=[1, 2, 3]))
        assert (done.events, done.faults, seen) == (3, [], [2.0, 3.0])
        assert values(done, "look") == [2.0, 3.0]
        assert values(done, "quantity") == [1.0, 3.0]
        assert done.rows["position"].to_pylist() == [10, 12] * 2
        assert done.rows["entity_id"].to_pylist() == ["user_0", "user_2"] * 2

    @pytest.mark.parametrize("answer", [False, None, 0, float("nan"), np.bool_(False), pd.NA])
    def test_null_and_zero_are_false(self, answer: object) -> None:
        assert chosen(orders(1), feature()(lambda amount: amount and answer)) == []

    @pytest.mark.parametrize("answer", [True, 1, -2.5, np.bool_(True)])
    def test_any_other_number_is_true(self, answer: object) -> None:
        assert chosen(orders(1), feature()(lambda amount: amount and answer)) == [10]

    def test_a_null_among_answers_is_false(self) -> None:
        assert chosen(orders(3, gift=[True, None, False]), feature("pandas")(lambda gift: gift)) == [10]

    def test_other_views_have_their_rows(self) -> None:
        never = feature()(lambda paid: not paid)
        views = [FeatureView("a", USER, ORDERS, [total], where=never), FeatureView("b", USER, ORDERS, [Field("amount")])]
        done = compile_transform(build("project", views), "orders")(orders(2))
        assert (done.events, values(done, "total"), values(done, "amount")) == (2, [], [1.0, 1.0])
        assert done.rows["feature_name"].chunk(0).dictionary.to_pylist() == ["total", "amount"]

    def test_an_event_that_no_view_takes_passes_without_rows(self) -> None:
        view = FeatureView("view", USER, ORDERS, [total, total_log], where=feature()(lambda paid: not paid))
        done = compile_transform(build("project", [view]), "orders")(orders(2))
        assert (done.events, done.rows.num_rows, done.faults, done.rows.schema) == (2, 0, [], ROWS_SCHEMA)

    def test_an_event_that_a_filter_fails_for_is_out_of_all_views(self) -> None:
        fails = feature(name="fails")(lambda amount: 1 / (amount - 1))
        views = [FeatureView("a", USER, ORDERS, [Field("amount")]), FeatureView("b", USER, ORDERS, [total], where=fails)]
        done = compile_transform(build("project", views), "orders")(orders(2, amount=[1.0, 2.0]))
        assert details(done) == {0: "fails: ZeroDivisionError: float division by zero"}
        assert (done.events, values(done, "amount"), values(done, "total")) == (1, [2.0], [4.0])

    def test_an_event_at_fault_in_one_view_is_not_shown_to_the_filter_of_another(self) -> None:
        seen: list[float] = []
        fails = feature(name="fails")(lambda amount: 1 / (amount - 1))

        def look(amount: float) -> bool:
            seen.append(amount)
            return True

        views = [FeatureView("a", USER, ORDERS, [fails]), FeatureView("b", USER, ORDERS, [total], where=feature()(look))]
        done = compile_transform(build("project", views), "orders")(orders(2, amount=[1.0, 2.0]))
        assert (seen, done.events, values(done, "total")) == ([2.0], 1, [4.0])


def chosen(events: Events, where: FeatureFunction) -> list[int]:
    """Return the positions that have rows; no event may be at fault."""
    view = FeatureView("view", USER, ORDERS, [Field("amount")], where=where)
    done = compile_transform(build("project", [view]), "orders")(events)
    assert (done.events, done.faults) == (len(events), [])
    positions: list[int] = done.rows["position"].to_pylist()
    return positions


class TestLimits:
    @pytest.mark.parametrize("mode", ["row", "pandas", "numpy"])
    @pytest.mark.parametrize(
        ("limits", "detail"),
        [
            ({"minimum": 2}, "'f' is below the minimum of 2"),
            ({"maximum": 0.5}, "'f' is above the maximum of 0.5"),
            ({"allowed": [2, 3.5]}, "'f' is not one of the allowed values"),
        ],
    )
    def test_a_value_outside_its_limits_rejects_its_event(self, mode: str, limits: dict[str, Any], detail: str) -> None:
        below = {"maximum": 0.5}
        amounts = [0.0, 1.0, 0.5, None] if limits == below else [2.0, 1.0, 3.5, None]
        done = run(orders(4, discount=amounts), feature(mode, name="f", **limits)(lambda discount: discount))
        assert done.faults == [(1, Reason.OUT_OF_RANGE, detail)]
        assert values(done, "f") == [amounts[0], amounts[2], None]

    def test_limits_hold_for_each_output(self) -> None:
        f = feature(outputs=["a", "b"], maximum=5)(lambda amount: (amount, amount * 2))
        done = run(orders(3, amount=[1.0, 3.0, 9.0]), f)
        assert [(event, detail) for event, _, detail in done.faults] == [
            (1, "'b' is above the maximum of 5"),
            (2, "'a' is above the maximum of 5"),
        ]
        assert (values(done, "a"), values(done, "b")) == ([1.0], [2.0])

    def test_later_functions_do_not_see_what_is_beyond_a_limit(self) -> None:
        seen: list[float] = []

        def then(first: float) -> float:
            seen.append(first)
            return 1 / first

        done = run(orders(3, amount=[0.0, 1.0, 2.0]), feature(name="first", minimum=1)(lambda amount: amount), feature()(then))
        assert (seen, done.events, values(done, "then")) == ([1.0, 2.0], 2, [1.0, 0.5])

    def test_an_event_that_failed_has_one_fault(self) -> None:
        f = feature(name="f", outputs=["a", "b"], minimum=0)(lambda amount: (-1, float("inf") if amount else 0))
        done = run(orders(2, amount=[1.0, 0.0]), f)
        assert [reason for _, reason, _ in done.faults] == [Reason.TRANSFORM_FAILED, Reason.OUT_OF_RANGE]

    def test_true_and_false_are_allowed_values(self) -> None:
        assert values(run(orders(1), feature(name="f", allowed=(True,))(lambda paid: paid)), "f") == [1.0]


class TestFaults:
    @pytest.mark.parametrize("bad", [[], [0], [6], [2, 3], [0, 1, 2, 3, 4, 5, 6], [1, 4, 6]])
    @pytest.mark.parametrize("mode", ["row", "pandas", "numpy"])
    def test_events_at_fault_are_found_and_their_neighbours_keep_their_values(self, mode: str, bad: list[int]) -> None:
        def strict(amount: Any) -> Any:
            if np.any(amount < 0):
                raise ValueError("below zero")
            return amount * 2

        amounts = [-1.0 if i in bad else float(i) for i in range(7)]
        done = run(orders(7, amount=amounts), feature(mode)(strict))
        assert details(done) == dict.fromkeys(bad, "strict: ValueError: below zero")
        assert done.events == 7 - len(bad)
        assert done.rows["position"].to_pylist() == [10 + i for i in range(7) if i not in bad]
        assert values(done, "strict") == [2.0 * i for i in range(7) if i not in bad]

    def test_one_dropped_null_does_not_cost_its_neighbours(self) -> None:
        done = run(orders(4, discount=[1.0, None, 3.0, 4.0]), feature("pandas", name="f")(lambda discount: discount.dropna()))
        assert details(done) == {1: "f: returned 0 values for 1 events"}
        assert values(done, "f") == [1.0, 3.0, 4.0]

    def test_a_function_that_only_fails_for_many_is_told_so(self) -> None:
        done = run(orders(4), feature("numpy", name="f")(lambda amount: amount[:1]))
        assert set(details(done)) == {0, 1, 2, 3}
        assert details(done)[0] == "f: fails for 2 events together but for none of them alone: returned 1 values for 2 events"

    def test_infinity_is_a_fault_of_its_event_and_division_by_zero_warns_nobody(self) -> None:
        done = run(orders(3, amount=[1.0, 0.0, 2.0]), feature("numpy", name="f")(lambda amount: 1 / amount))
        assert details(done) == {1: "f: infinite value"}
        assert values(done, "f") == [1.0, 0.5]

    def test_an_event_at_fault_in_one_view_has_no_row_in_another(self) -> None:
        never = feature(name="never")(lambda amount: 1 / (amount - 1))
        views = [FeatureView("a", USER, ORDERS, [total, Field("amount")]), FeatureView("b", USER, ORDERS, [never])]
        done = compile_transform(build("project", views), "orders")(orders(3, amount=[1.0, 2.0, 3.0]))
        assert details(done) == {0: "never: ZeroDivisionError: float division by zero"}
        assert [(r["feature_name"], r["value"], r["position"]) for r in done.rows.to_pylist()] == [
            ("total", 4.0, 11),
            ("total", 6.0, 12),
            ("amount", 2.0, 11),
            ("amount", 3.0, 12),
            ("never", 1.0, 11),
            ("never", 0.5, 12),
        ]

    def test_the_first_failure_of_an_event_is_reported_and_later_functions_do_not_see_it(self) -> None:
        seen: list[float] = []

        def check(amount: float) -> float:
            if amount == 2:
                raise KeyError("no such rate")
            return amount

        def then(check: float) -> float:
            seen.append(check)
            raise RuntimeError("always")

        done = run(orders(3, amount=[1.0, 2.0, 3.0]), feature()(check), feature()(then))
        assert seen == [1.0, 3.0]
        assert list(details(done).values()) == [
            "then: RuntimeError: always",
            "check: KeyError: 'no such rate'",
            "then: RuntimeError: always",
        ]

    def test_details_are_short_single_lines_of_valid_text(self) -> None:
        def talkative(amount: float) -> float:
            raise ValueError("one\ntwo \ud800" + "x" * 1_000 * int(amount))

        detail = details(run(orders(1), feature()(talkative)))[0]
        assert detail.startswith("talkative: ValueError: one two ?xxx")
        assert len(detail) == 200
        detail.encode()

    def test_an_error_whose_message_cannot_be_read(self) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def fails(amount: float) -> float:
            raise Broken(amount)

        assert details(run(orders(1), feature()(fails))) == {0: "fails: Broken: (its message cannot be read)"}

    @pytest.mark.parametrize("mode", ["row", "pandas"])
    def test_a_function_cannot_end_the_process(self, mode: str) -> None:
        def leave(amount: Any) -> Any:
            raise SystemExit(f"{len([amount])}")

        assert details(run(orders(2), feature(mode)(leave))) == dict.fromkeys([0, 1], "leave: SystemExit: 1")

    def test_an_event_far_outside_the_calendar_does_not_stop_the_batch(self) -> None:
        events = orders(2)
        far = replace(events, event_timestamp=pa.array([-(10**18), START], pa.timestamp("us")))
        done = run(far, feature(name="year")(lambda at: at and at.year))
        assert done.rows["value"].to_pylist() == [None, 2026.0]


def slow_for(mode: str, bad: Sequence[float]) -> FeatureFunction:
    """Return a function that never ends for some amounts."""

    def slow(amount: Any) -> Any:
        while np.isin(amount, bad).any():
            pass
        return amount * 2

    return feature(mode)(slow)


class TestTimeouts:
    @pytest.fixture(autouse=True)
    def on_stuck(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Keep the process when the machine is too busy for such short timeouts."""
        monkeypatch.setattr(WATCHDOG, "on_stuck", lambda _feature: None)

    def test_an_event_that_a_function_never_ends_for_is_rejected_alone(self) -> None:
        done = run(orders(6, amount=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), slow_for("row", [1, 4]), timeout_s=0.3)
        said = "slow: not done in time, a call has 0.3 s"
        assert done.faults == [(1, Reason.TRANSFORM_TIMEOUT, said), (4, Reason.TRANSFORM_TIMEOUT, said)]
        assert values(done, "slow") == [0.0, 4.0, 6.0, 10.0]

    @pytest.mark.parametrize(("mode", "bad"), [("pandas", [0]), ("pandas", [2_500]), ("numpy", [17, 4_000])])
    def test_slow_events_of_a_batch_are_found_within_the_budget(self, mode: str, bad: list[int]) -> None:
        amounts = [float(i) for i in range(5_000)]
        done = run(orders(5_000, amount=amounts), slow_for(mode, bad), timeout_s=1)
        said = "slow: not done in time, a call has 1 s"
        assert done.faults == [(index, Reason.TRANSFORM_TIMEOUT, said) for index in bad]
        assert values(done, "slow") == [a * 2 for a in amounts if a not in bad]

    @pytest.mark.parametrize("mode", ["row", "pandas", "numpy"])
    def test_when_the_budget_is_used_up_the_rest_is_rejected(self, mode: str) -> None:
        done = run(orders(100, amount=[float(i) for i in range(100)]), slow_for(mode, range(10, 100)), timeout_s=0.1)
        assert {reason for _, reason, _ in done.faults} == {Reason.TRANSFORM_TIMEOUT}
        assert {event for event, _, _ in done.faults} >= set(range(10, 100))
        assert done.faults[-1].detail == "slow: not computed, the 0.3 s for a batch are used up"
        assert done.events == 100 - len(done.faults)

    @pytest.mark.parametrize("mode", ["pandas", "numpy"])
    def test_a_batch_that_is_only_too_large_is_done_in_parts(self, mode: str) -> None:
        def even(amount: Any) -> Any:
            time.sleep(0.02 * len(amount))
            return amount

        done = run(orders(64), feature(mode)(even), timeout_s=1)
        assert (done.faults, done.events) == ([], 64)

    def test_failures_beside_slow_events_keep_their_reason(self) -> None:
        def fussy(amount: Any) -> Any:
            while (amount == 3).any():
                pass
            if (amount == 5).any():
                raise ValueError("five")
            return amount

        done = run(orders(8, amount=[float(i) for i in range(8)]), feature("numpy")(fussy), timeout_s=0.6)
        assert [(event, reason) for event, reason, _ in done.faults] == [
            (3, Reason.TRANSFORM_TIMEOUT),
            (5, Reason.TRANSFORM_FAILED),
        ]

    def test_a_slow_filter_and_a_slow_output_are_no_different(self) -> None:
        where = slow_for("row", [1])
        pair = feature("row", name="pair", outputs=["a", "b"])(lambda amount: (slow_for("row", [2]).function(amount), amount))
        view = FeatureView("view", USER, ORDERS, [pair], where=where)
        done = compile_transform(build("project", [view]), "orders", 0.3)(orders(4, amount=[1.0, 2.0, 3.0, 4.0]))
        assert [(event, detail.partition(":")[0]) for event, _, detail in done.faults] == [(0, "slow"), (1, "pair")]
        assert (values(done, "a"), values(done, "b")) == ([6.0, 8.0], [3.0, 4.0])

    def test_an_event_is_computed_once_more_if_it_ended_just_in_time(self) -> None:
        """Whatever the moment at which calls are ended, each event has its own value or is rejected."""

        def around(amount: float) -> float:
            end = time.perf_counter() + amount
            while time.perf_counter() < end:
                pass
            return amount

        amounts = [0.0005 * (i % 16) for i in range(200)]
        for _ in range(5):
            done = run(orders(200, amount=amounts), feature()(around), timeout_s=0.005)
            bad = {event for event, _, _ in done.faults}
            assert values(done, "around") == [a for i, a in enumerate(amounts) if i not in bad]
