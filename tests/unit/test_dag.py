from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.errors import Misconfigured
from cluster.ingest import dag
from cluster.registry.definitions import FeatureFunction, feature


def made(name: str, *inputs: str) -> FeatureFunction:
    return feature(name=name)(eval(f"lambda {', '.join(inputs)}: 0"))  # noqa: S307 - a lambda with these parameters


def test_each_function_comes_after_its_inputs() -> None:
    ordered = dag.order([made("c", "b", "x"), made("b", "a"), made("a", "x")], ["x"])
    assert [f.name for f in ordered] == ["a", "b", "c"]


def test_the_order_is_the_same_each_time() -> None:
    functions = [made(name, "x") for name in "dcba"]
    assert dag.order(functions, ["x"]) == dag.order(functions, ["x"])


def test_no_functions_is_an_empty_order() -> None:
    assert dag.order([], ["x"]) == ()


def test_a_cycle_is_named_with_its_path() -> None:
    with pytest.raises(Misconfigured, match=r"circle: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"):
        dag.order([made("a", "c"), made("b", "a", "x"), made("c", "b")], ["x"])


def test_a_function_that_takes_itself_is_a_cycle() -> None:
    with pytest.raises(Misconfigured, match=r"circle: a -> a"):
        dag.order([made("a", "a")], ["x"])


def test_an_unknown_input_names_the_feature_and_what_is_near() -> None:
    with pytest.raises(Misconfigured, match=r"'total' takes 'amonut', .* did you mean 'amount'\?"):
        dag.order([made("total", "amonut")], ["amount", "currency"])


def test_a_feature_may_not_have_the_name_of_a_column() -> None:
    with pytest.raises(Misconfigured, match="feature 'amount' has the name of a column"):
        dag.order([made("amount", "currency")], ["amount", "currency"])


def test_a_feature_is_defined_once() -> None:
    with pytest.raises(Misconfigured, match="feature 'a' is defined twice"):
        dag.order([made("a", "x"), made("a", "x")], ["x"])


def starred(*x: float) -> float:
    return sum(x)


def double_starred(**x: float) -> float:
    return sum(x.values())


def defaulted(x: float = 1) -> float:
    return x


def keyword_only(*, x: float) -> float:
    return x


@pytest.mark.parametrize("function", [starred, double_starred, defaulted, keyword_only])
def test_parameters_must_be_plain_names(function: Callable[..., Any]) -> None:
    with pytest.raises(Misconfigured, match=rf"feature '{function.__name__}': parameter '.*x.*' is not a plain name"):
        dag.order([feature()(function)], ["x"])


def test_a_function_needs_an_input() -> None:
    with pytest.raises(Misconfigured, match="feature 'constant' takes no inputs"):
        dag.order([made("constant")], ["x"])


async def awaited(x: float) -> float:
    return x


def yielded(x: float) -> Any:
    yield x


@pytest.mark.parametrize("function", [awaited, yielded])
def test_a_function_must_return_its_result(function: Callable[..., Any]) -> None:
    with pytest.raises(Misconfigured, match=f"feature '{function.__name__}' must be an ordinary function"):
        dag.order([feature()(function)], ["x"])
