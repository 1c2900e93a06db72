from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cluster.errors import Misconfigured
from cluster.ingest import dag
from cluster.registry.definitions import FeatureFunction, feature


def made(name: str, *inputs: str, outputs: Sequence[str] = ()) -> FeatureFunction:
    return feature(name=name, outputs=outputs)(eval(f"lambda {', '.join(inputs)}: 0"))  # noqa: S307 - a lambda with these parameters


def test_each_function_comes_after_its_inputs() -> None:
    ordered = dag.order([made("c", "b", "x"), made("b", "a"), made("a", "x")], ["x"])
    assert [f.name for f in ordered] == ["a", "b", "c"]


def test_a_function_with_several_outputs_is_in_the_order_once() -> None:
    split = made("split", "x", outputs=["net", "tax"])
    ordered = dag.order([made("share", "tax", "net"), made("rest", "net"), split], ["x"])
    assert [f.name for f in ordered] == ["split", "share", "rest"]


def test_an_output_that_is_an_input_is_a_cycle() -> None:
    with pytest.raises(Misconfigured, match=r"circle: (net -> other -> net|other -> net -> other)"):
        dag.order([made("split", "other", outputs=["net", "tax"]), made("other", "tax")], ["x"])


def test_a_function_with_outputs_is_taken_by_their_names_only() -> None:
    with pytest.raises(Misconfigured, match="'share' takes 'split', which is neither"):
        dag.order([made("split", "x", outputs=["net", "tax"]), made("share", "split")], ["x"])


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


@pytest.mark.parametrize("outputs", [("a", "a"), ("b", "x"), ("c", "b")])
def test_outputs_have_names_of_their_own(outputs: Sequence[str]) -> None:
    with pytest.raises(Misconfigured, match=r"is defined twice|has the name of a column"):
        dag.order([made("c", "x"), made("f", "x", outputs=outputs)], ["x"])


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
