"""The graph that definitions spell out, what versions changed of it, and its drawings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cluster.errors import NotFound, Refused
from cluster.lineage.definitions import feature_in, graph_of
from cluster.lineage.drawings import Drawing, draw
from cluster.lineage.features import Change, feature_lineage, feature_meant, history
from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import (
    DType,
    Entity,
    FeatureFunction,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    Long,
    StreamSource,
    Wide,
    feature,
)

USER = Entity("user", "user_id")
ORDERS = StreamSource("orders", "shop.orders", Wide("user_id", "at", (Field("amount", minimum=0), Field("rate", DType.INT64))))
FILES = FileSource("ages", Long(value="number"))


def function(name: str, *inputs: str, mode: str = "row", text: str = "1") -> FeatureFunction:
    made: Callable[..., Any] = eval(f"lambda {', '.join(inputs)}: 0")  # noqa: S307 - a function with these parameters
    return replace(feature(mode, name=name)(made), source_hash=text)


TOTAL = function("total", "amount", "rate", mode="pandas")
LOG = function("total_log", "total", mode="numpy")
LATE = function("late", "at")
ORDER = FeatureView("order", USER, ORDERS, [Field("amount"), TOTAL, LOG, LATE], online=True, ttl=timedelta(days=7))
AGES = FeatureView("person", USER, FILES, [Field("age")])
MODEL = FeatureService("model", [AGES, "order:total_log"])
ENSEMBLE = FeatureService("ensemble", ["model", "late"])
CATALOG = build("p", [ORDER, AGES, MODEL, ENSEMBLE, FeatureService("nothing", [])]).registered_as(3)


def edges(graph: Graph) -> set[str]:
    return {f"{taken} > {taker}" for taken, taker in graph.edges}


def test_everything_that_is_defined_is_in_the_graph() -> None:
    assert edges(graph_of(CATALOG.describe())) == {
        "topic:shop.orders > source:orders",
        "source:orders > column:orders.user_id",
        "source:orders > column:orders.at",
        "source:orders > column:orders.amount",
        "source:orders > column:orders.rate",
        "source:ages > column:ages.number",
        "column:orders.amount > feature:order:amount",
        "column:orders.amount > function:order.total",
        "column:orders.rate > function:order.total",
        "function:order.total > feature:order:total",
        "feature:order:total > function:order.total_log",
        "function:order.total_log > feature:order:total_log",
        "column:orders.at > function:order.late",
        "function:order.late > feature:order:late",
        "column:ages.number > feature:person:age",
        "feature:person:age > service:model",
        "feature:order:total_log > service:model",
        "service:model > service:ensemble",
        "feature:order:late > service:ensemble",
    }


def test_a_function_with_several_outputs_and_a_filter_of_events() -> None:
    definition = json.loads(json.dumps(catalog_of(TOTAL, LOG).describe()))
    view = definition["views"]["order"]
    view["features"][0] |= {"name": "sums", "outputs": ["total", "other"]}
    view["where"] = {"kind": "function", "name": "paid", "mode": "row", "inputs": ["rate"], "source_hash": "1"}
    graph = graph_of(definition)
    total = graph.node(NodeKind.FEATURE, "order:total")
    assert [str(node) for node in graph.inputs(total)] == ["function order.sums", "function order.paid"]
    assert [str(node) for node in graph.takers(graph.node(NodeKind.FUNCTION, "order.sums"))] == [
        "feature order:total",
        "feature order:other",
    ]
    assert [str(node) for node in graph.inputs(graph.node(NodeKind.FUNCTION, "order.total_log"))] == ["feature order:total"]
    assert [str(node) for node in graph.inputs(graph.node(NodeKind.FUNCTION, "order.paid"))] == ["column orders.rate"]


def test_what_an_older_raytide_did_not_know_is_no_change() -> None:
    [old] = stored(catalog_of(TOTAL, LOG))
    new = json.loads(json.dumps(old))
    new["definition"]["views"]["order"] |= {"where": None}
    new["definition"]["views"]["order"]["features"][0] |= {"outputs": []}
    new["definition"]["sources"]["orders"]["records"]["fields"][0] |= {"default": None}
    assert [version.change for version in history("total", [old, new])] == [Change.ADDED, Change.SAME]


def test_nodes_say_what_they_are() -> None:
    details = {str(node): node.detail for node in graph_of(CATALOG.describe()).nodes}
    assert details["source orders"] == "stream, wide records"
    assert details["column orders.at"] == "event time"
    assert details["column orders.rate"] == "int64"
    assert details["column ages.number"] == "one value in each record"
    assert details["function order.total"] == "pandas"
    assert details["feature order:total"] == "user, online, ttl 7 days"
    assert details["feature person:age"] == "user, history only, no ttl"


def test_a_features_lineage_leaves_out_its_neighbours() -> None:
    found = feature_lineage(CATALOG, "total")
    assert (found.feature, found.view, found.registry_version, str(found.node)) == ("total", "order", 3, "feature order:total")
    assert [str(node) for node in found.graph.nodes] == [
        "topic shop.orders",
        "source orders",
        "column orders.amount",
        "column orders.rate",
        "function order.total",
        "feature order:total",
        "function order.total_log",
        "feature order:total_log",
        "service model",
        "service ensemble",
    ]


def test_a_feature_is_named_with_or_without_its_view() -> None:
    assert feature_meant(CATALOG, "order:total") == feature_meant(CATALOG, "total") == CATALOG.features["total"]
    with pytest.raises(NotFound, match="did you mean 'total'"):
        feature_meant(CATALOG, "totl")
    for name, kind in (("order", "view"), ("person", "view"), ("model", "service"), ("nothing", "service")):
        with pytest.raises(Refused, match=f"'{name}' is a {kind}: name one feature, as `raytide {kind}s describe {name}`"):
            feature_meant(CATALOG, name)


# ---- versions


def catalog_of(*items: Field | FeatureFunction, source: StreamSource = ORDERS, **view: Any) -> Catalog:
    return build("p", [replace(ORDER, features=list(items), source=source, **view)])


def stored(*catalogs: Catalog) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, catalog in enumerate(catalogs, 1):
        definition = json.loads(json.dumps(catalog.describe()))
        rows.append({"version": number, "applied_at": number, "applied_by": "me", "comment": "", "definition": definition})
    return rows


def changes(name: str, *catalogs: Catalog) -> list[tuple[int, Change, tuple[str, ...]]]:
    return [(version.version, version.change, version.what) for version in history(name, stored(*catalogs))]


def test_a_feature_comes_stays_and_goes() -> None:
    without, there = catalog_of(LATE), catalog_of(LATE, TOTAL)
    assert changes("total", without, there, there, without, without, there) == [
        (2, Change.ADDED, ()),
        (3, Change.SAME, ()),
        (4, Change.REMOVED, ()),
        (6, Change.ADDED, ()),
    ]
    assert changes("nothing", without, there) == []


WIDER = replace(ORDERS, records=Wide("user_id", "at", (Field("amount"), Field("rate", DType.INT64))))
OTHER_TOPIC = replace(ORDERS, topic="shop.orders2")


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (catalog_of(TOTAL, LOG, LATE, Field("amount")), ()),
        (catalog_of(TOTAL, LOG, description="new", owner="me", tags=("x",)), ()),
        (catalog_of(TOTAL, LOG, source=replace(ORDERS, partitions=9, description="new")), ()),
        (catalog_of(TOTAL, replace(LOG, source_hash="2")), ("function order.total_log changed",)),
        (catalog_of(replace(TOTAL, source_hash="2"), LOG), ("function order.total changed",)),
        (
            catalog_of(function("total", "amount", mode="pandas"), LOG),
            ("column orders.rate is gone", "function order.total changed"),
        ),
        (
            catalog_of(TOTAL, LOG, ttl=None),
            ("feature order:total changed", "feature order:total_log changed"),
        ),
        (catalog_of(TOTAL, LOG, source=WIDER), ("column orders.amount changed",)),
        (
            catalog_of(TOTAL, LOG, source=OTHER_TOPIC),
            ("topic shop.orders is gone", "topic shop.orders2 is new", "source orders changed"),
        ),
    ],
)
def test_what_changed_is_what_decides_about_the_value(now: Catalog, what: tuple[str, ...]) -> None:
    expected = (2, Change.CHANGED if what else Change.SAME, what)
    assert changes("total_log", catalog_of(TOTAL, LOG), now)[1] == expected


def test_a_feature_that_moved_to_another_view_is_the_same_feature() -> None:
    moved = build("p", [replace(ORDER, name="basket", features=[LATE])])
    found = changes("late", catalog_of(LATE), moved)
    assert found[1] == (
        2,
        Change.CHANGED,
        (
            "function order.late is gone",
            "feature order:late is gone",
            "function basket.late is new",
            "feature basket:late is new",
        ),
    )
    assert feature_in(graph_of(moved.describe()), "late") is not None


# ---- drawings


def test_drawings() -> None:
    graph = feature_lineage(CATALOG, "late").graph
    assert draw(graph, Drawing.MERMAID).splitlines() == [
        "flowchart LR",
        '  n0["topic shop.orders"]',
        '  n1["source orders"]',
        '  n2["column orders.at"]',
        '  n3["function order.late"]',
        '  n4["feature order:late"]',
        '  n5["service ensemble"]',
        "  n0 --> n1",
        "  n1 --> n2",
        "  n2 --> n3",
        "  n3 --> n4",
        "  n4 --> n5",
    ]
    dot = draw(graph, Drawing.DOT).splitlines()
    assert (dot[0], dot[-1]) == ("digraph lineage {", "}")
    assert '  "column:orders.at" -> "function:order.late";' in dot


def test_names_cannot_break_a_drawing() -> None:
    graph = Graph((Node(NodeKind.COLUMN, 'a.#"ü"]'),), ())
    assert 'n0["column a.#35;#quot;ü#quot;]"]' in draw(graph, Drawing.MERMAID)
    assert r'[label="column a.#\"ü\"]"]' in draw(graph, Drawing.DOT)
