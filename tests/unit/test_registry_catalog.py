from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from cluster.errors import NotFound
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import (
    Entity,
    FeatureFunction,
    FeatureService,
    FeatureView,
    Field,
    Long,
    StreamSource,
    Wide,
    feature,
)

USER = Entity("user", "user_id")
VALUES = FeatureView("values", USER, StreamSource("long", "long", Long()), [Field("b"), Field("a")], online=True, tags=("x",))


def plus(number: int) -> FeatureFunction:
    """Return a feature whose text differs by nothing but the number's place in this file."""
    if number == 1:
        return feature(name="total")(lambda amount: amount + 1)
    return feature(name="total")(lambda amount: amount + 2)


def catalog(number: int = 1, ttl: timedelta | None = timedelta(hours=1)) -> Catalog:
    source = StreamSource("wide", "wide", Wide("user_id", "at", (Field("amount"),)))
    orders = FeatureView("orders", USER, source, [plus(number)], ttl=ttl)
    return build("project", [VALUES, orders, FeatureService("model", [orders, "values:a"])])


@pytest.mark.parametrize(
    ("reference", "names"),
    [("a", ["a"]), ("values:b", ["b"]), ("values", ["b", "a"]), ("model", ["total", "a"])],
)
def test_references_resolve_to_features(reference: str, names: list[str]) -> None:
    assert [f.name for f in catalog().resolve([reference])] == names


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("totl", r"no feature, view or service is called 'totl'; did you mean 'total'\?"),
        ("orders:a", "feature 'a' belongs to view 'values', not 'orders'"),
        ("orders:zzz", "no feature is called 'zzz'; known: a, b, total"),
    ],
)
def test_unknown_references_suggest_near_ones(reference: str, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        catalog().resolve([reference])


def test_an_unknown_source_suggests_a_near_one() -> None:
    with pytest.raises(NotFound, match=r"no source is called 'wid'; did you mean 'wide'\?"):
        catalog().source("wid")


def test_the_description_survives_json() -> None:
    described = catalog().describe()
    assert json.loads(json.dumps(described)) == described


def test_the_description_says_what_a_version_is() -> None:
    described = catalog().describe()
    orders, values = described["views"]["orders"], described["views"]["values"]
    assert (orders["entity"], orders["source"], orders["ttl"], orders["online"]) == ("user", "wide", 3600.0, False)
    assert (values["tags"], values["ttl"], values["online"]) == (["x"], None, True)
    assert [(f["kind"], f["name"]) for f in values["features"]] == [("field", "b"), ("field", "a")]
    total = orders["features"][0]
    assert (total["kind"], total["mode"], total["inputs"], len(total["source_hash"])) == ("function", "row", ["amount"], 64)
    assert described["sources"]["wide"]["records"]["fields"][0]["dtype"] == "float64"
    assert described["services"]["model"]["features"] == ["orders", "values:a"]


def test_equal_definitions_have_equal_descriptions_and_changes_show() -> None:
    assert catalog().describe() == catalog().describe()
    assert catalog(number=2).describe() != catalog().describe()
    assert catalog(ttl=None).describe() != catalog().describe()


def test_a_filter_is_part_of_what_a_version_is() -> None:
    view = FeatureView("orders", USER, StreamSource("wide", "wide", Wide("user_id", "at", (Field("amount"),))), [plus(1)])
    plain, filtered = (build("project", [v]).describe() for v in (view, replace(view, where=plus(2))))
    assert plain["views"]["orders"]["where"] is None
    assert filtered["views"]["orders"]["where"]["inputs"] == ["amount"]
    assert json.loads(json.dumps(filtered)) == filtered
