"""Aggregations in definitions: names, what they must hold, and how the registry, plan and lineage see them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Misconfigured, Refused
from cluster.lineage.features import alike, feature_lineage
from cluster.lineage.values import Asked, value_lineage
from cluster.registry import loader
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import (
    DType,
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
from cluster.registry.metadata import DefinitionKind, described
from cluster.registry.plan import Action, compare
from cluster.serving.online import OnlineFeatureSet
from cluster.windows.panes import panes_of

DAY = timedelta(days=1)
USER = Entity("user", "user_id")
RECORDS = Wide("user_id", "at", (Field("amount"), Field("status", DType.STRING)))
ORDERS = StreamSource("orders", "orders", RECORDS)
VALUES = StreamSource("values", "values", Long())


@feature()
def net(amount: float) -> float:
    return amount * 2


@feature()
def paid(status: str) -> bool:
    return status == "paid"


def view(*features: Any, **settings: Any) -> FeatureView:
    return FeatureView("order", USER, ORDERS, [net, paid, *features], **settings)


def refused(*values: object) -> str:
    with pytest.raises(Misconfigured) as caught:
        build("shop", values)
    return str(caught.value)


SUM = Aggregation("net", "sum", 7 * DAY, filter="paid")
CATALOG = build("shop", [view(SUM, online=True, ttl=DAY), FeatureService("model", ["order:net_sum_7d"])]).registered_as(1)


def test_a_name_is_made_of_input_function_and_window() -> None:
    several = [
        Aggregation("net", "count", length) for length in (timedelta(minutes=90), timedelta(hours=36), 7 * DAY, 30 * DAY)
    ]
    assert [item.name for item in several] == ["net_count_90m", "net_count_36h", "net_count_7d", "net_count_30d"]
    assert Aggregation("net", "count", 7 * DAY, name="orders_in_a_week").name == "orders_in_a_week"


def test_its_hop_is_a_part_of_the_definition() -> None:
    assert replace(SUM, hop=timedelta(hours=1)) == SUM
    assert CATALOG.describe()["views"]["order"]["features"][2]["hop"] == 3_600


def test_it_is_a_feature_to_readers_and_nothing_to_records() -> None:
    spec = CATALOG.features["net_sum_7d"]
    assert (spec.aggregation, spec.rows, spec.ttl_us, spec.online) == (SUM, ("net", "paid"), None, True)
    assert [found.name for found in CATALOG.features_of("orders")] == ["net", "paid"]
    assert CATALOG.online_names() == ["net", "paid"]
    assert [found.name for found in CATALOG.resolve(["model"])] == ["net_sum_7d"]
    assert CATALOG.views["order"].names == ("net", "paid", "net_sum_7d")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Aggregation("net", "median", DAY), "function is 'median': functions are count, sum, mean, min, max, std, last, first"),
        (
            Aggregation("nett", "sum", DAY),
            "input 'nett' is no feature of the view, and only what a view lists is in history; did",
        ),
        (Aggregation("amount", "sum", DAY), "input 'amount' is no feature of the view, and only what a view lists"),
        (Aggregation("net", "sum", DAY, filter="paidd"), "filter 'paidd' is no feature of the view"),
        (Aggregation(net, "sum", DAY), "input is FeatureFunction("),  # type: ignore[arg-type]
        (Aggregation("net", "sum", DAY, hop=0 * DAY), "hop is datetime.timedelta(0): give a timedelta of whole seconds"),
        (Aggregation("net", "sum", DAY, hop=7 * DAY), "window 1d is not a multiple of hop 7d"),
        (
            Aggregation("net", "sum", timedelta(0), name="a"),
            "window is datetime.timedelta(0): give a timedelta of whole seconds",
        ),
        (Aggregation("net", "sum", 7), "window is 7: give a timedelta"),  # type: ignore[arg-type]
    ],
    ids=lambda x: "" if isinstance(x, str) else None,
)
def test_what_makes_no_aggregation(item: Aggregation, said: str) -> None:
    text = refused(view(item))
    assert f"feature view 'order', aggregation '{item.name}': {said}" in text
    assert text.startswith(__file__), "it says where the aggregation stands"


def test_one_cannot_be_made_of_another() -> None:
    text = refused(view(SUM, Aggregation("net_sum_7d", "max", 30 * DAY)))
    assert "input 'net_sum_7d' is an aggregation itself: take a feature that history has" in text


def test_names_are_unique_and_plain() -> None:
    assert "lists feature 'net_sum_7d' twice" in refused(view(SUM, SUM))
    assert "names are lower case letters" in refused(view(replace(SUM, name="Sum")))


@feature()
def share(net: float, net_sum_7d: float | None) -> float | None:
    return net / net_sum_7d if net_sum_7d else None


@feature(mode="numpy", outputs=("share_twice", "share_squared"))
def shares(share: Any) -> Any:
    return share * 2, share**2


def test_a_function_that_takes_one_runs_when_it_is_read() -> None:
    catalog = build("shop", [view(shares, share, SUM)])
    made = catalog.features["share_squared"]
    assert made.computed is not None
    assert made.computed.function == shares
    assert [spec.name for spec in made.computed.inputs] == ["share"]
    assert (made.rows, made.is_stored, made.ttl_us) == (("net", "paid"), False, None)
    assert not {"share", "share_twice", "share_squared", "net_sum_7d"} & {*catalog.views["order"].stored}
    assert "share" not in catalog.online_names()


def test_no_event_runs_it() -> None:
    catalog = build("shop", [view(shares, share, SUM)])
    plain = build("shop", [view(SUM)])
    assert [spec.name for spec in catalog.features_of("orders")] == [spec.name for spec in plain.features_of("orders")]


def test_its_lineage_goes_through_the_window() -> None:
    found = feature_lineage(build("shop", [view(shares, share, SUM)]), "share")
    [function] = [node for node in found.graph.inputs(found.node) if node.name == "order.share"]
    assert [node.name for node in found.graph.inputs(function)] == ["order:net", "order:net_sum_7d"]


def _of_a_column(amount: float, net_sum_7d: float) -> float:
    return amount / net_sum_7d


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (feature()(_of_a_column), "feature '_of_a_column', which runs when it is read: it takes 'amount', which is no feature"),
        (feature(minimum=0)(lambda net_sum_7d: net_sum_7d), "it has limits, which reject records, and there is none"),
    ],
)
def test_what_cannot_run_on_answers(item: FeatureFunction, said: str) -> None:
    named = replace(item, name="of_a_window") if item.name == "<lambda>" else item
    assert said in refused(view(SUM, named))


def test_functions_of_windows_may_not_go_round_in_a_circle() -> None:
    one = feature(name="one")(lambda net_sum_7d, other: net_sum_7d + other)
    other = feature(name="other")(lambda one: one)
    assert "need each other in a circle" in refused(view(SUM, one, other))


def test_no_window_over_what_is_computed_from_one() -> None:
    over = Aggregation("share", "sum", DAY)
    assert "input 'share' is computed from an aggregation when it is read" in refused(view(SUM, share, over))


def test_features_of_a_long_source_can_be_aggregated_but_not_filtered() -> None:
    window = Aggregation("score", "mean", DAY)
    long = FeatureView("scores", USER, VALUES, [Field("score"), Field("other"), window])
    assert build("shop", [long]).features["score_mean_1d"].rows == ("score",)
    filtered = replace(long, features=[*long.features[:2], replace(window, filter="other")])
    assert "a record of a Long source is one feature, so no other can be its filter" in refused(filtered)


def test_it_is_described_and_fits_json() -> None:
    found = described(CATALOG, DefinitionKind.FEATURE, "net_sum_7d")
    assert found.facts["type"] == "aggregation"
    assert {key: found.facts[key] for key in ("input", "function", "window", "hop", "filter", "services")} == {
        "input": "net",
        "function": "sum",
        "window": 604_800,
        "hop": 3_600,
        "filter": "paid",
        "services": ["model"],
    }
    assert json.loads(json.dumps(found.facts)) == found.facts


def test_a_plan_shows_its_changes_and_who_depends_on_it() -> None:
    longer = build("shop", [view(replace(SUM, window=8 * DAY)), FeatureService("model", ["order:net_sum_7d"])])
    [change] = [c for c in compare(CATALOG.describe(), longer.describe()) if c.kind == "feature"]
    assert (change.action, change.name, change.dependents) == (Action.CHANGED, "order:net_sum_7d", ("service model",))
    assert change.details == ("window: 604800.0 -> 691200.0",)


def test_a_changed_input_changes_it_in_a_plan() -> None:
    other = build("shop", [view(Aggregation("net", "sum", 7 * DAY, filter="paid"))]).describe()
    other["views"]["order"]["features"][0]["mode"] = "pandas"
    [change] = [c for c in compare(CATALOG.describe(), other) if c.name == "order:net"]
    assert "feature order:net_sum_7d" in change.dependents


def test_its_lineage_goes_on_to_its_inputs() -> None:
    found = feature_lineage(CATALOG, "net_sum_7d")
    assert found.node.detail == "user, sum over 7d, computed when it is read"
    assert [node.name for node in found.graph.inputs(found.node)] == ["order:net", "order:paid"]
    assert {"orders.amount", "orders.status"} < {node.name for node in found.graph.nodes}
    assert [node.name for node in found.graph.takers(found.node)] == ["model"]


def test_another_window_is_another_feature_but_its_input_is_the_same() -> None:
    longer = build("shop", [view(replace(SUM, window=8 * DAY))])
    versions = [{"version": n, "definition": c.describe()} for n, c in ((1, CATALOG), (2, longer))]
    assert alike("net_sum_7d", versions, 2) == [2]
    assert alike("net", versions, 2) == [1, 2]


def test_a_value_of_it_has_no_record() -> None:
    with pytest.raises(Refused, match=r"'order:net_sum_7d' is computed from many records .* ask for 'order:net'"):
        value_lineage(None, CATALOG, Asked("u", "net_sum_7d"), 0)  # type: ignore[arg-type]


def test_nobody_keeps_a_newest_value_of_it() -> None:
    assert "net" in CATALOG.online_names()
    assert "net_sum_7d" not in CATALOG.online_names()
    assert [pane.input for pane in panes_of(CATALOG)] == ["net"]


def test_a_view_that_is_not_online_keeps_no_cells_of_it() -> None:
    offline = build("shop", [replace(view(SUM), online=False)])
    assert panes_of(offline) == []
    with pytest.raises(Refused, match=r"'net_sum_7d' of view 'order' is not kept online"):
        OnlineFeatureSet.of(offline.resolve(["net_sum_7d"]))


def test_it_travels_to_workers_and_counts_in_the_content_hash(tmp_path: Path) -> None:
    def loaded(window: str) -> Catalog:
        file = tmp_path / "definitions.py"
        file.write_text(
            "from datetime import timedelta\nfrom raytide import *\n"
            "user, source = Entity('user', 'user_id'), FileSource('values', Long())\n"
            f"v = FeatureView('v', user, source, [Field('x'), Aggregation('x', 'sum', {window}, name='s')])\n"
        )
        return loader.load("shop", file)

    week = loaded("timedelta(days=7)")
    assert loader.from_bytes(loader.to_bytes(week)).features == week.features
    assert week.content_hash == loaded("timedelta(hours=168)").content_hash != loaded("timedelta(days=8)").content_hash
