"""What `plan` says: changes with what depends on them, and changes that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cluster.errors import Misconfigured
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
from cluster.registry.evolution import check_compatible, incompatible
from cluster.registry.plan import EMPTY, Action, Change, compare

USER, CARD = Entity("user", "user_id"), Entity("card", "card_id")
FIELDS = (Field("amount"), Field("count", DType.INT64), Field("note", DType.STRING, optional=True))
WIDE = Wide("user_id", "at", FIELDS)
SOURCE = StreamSource("orders", "orders", WIDE)


@feature()
def doubled(amount: float) -> float:
    return amount * 2


@feature()
def squared(doubled: float) -> float:
    return doubled * doubled


squared_of_amount = feature(name="squared")(lambda amount: amount * amount)
VIEW = FeatureView("order", USER, SOURCE, [doubled, squared, Field("count")], ttl=timedelta(days=1))
MODEL = FeatureService("model", ["order:squared"])


def described(view: FeatureView = VIEW, *more: object) -> dict[str, Any]:
    catalog: Catalog = build("demo", [view, MODEL, *more])
    functions = [f for f in view.features if isinstance(f, FeatureFunction)]
    return replace(catalog, code={f.name: f.source_hash for f in functions}).describe()


def with_records(**changes: Any) -> dict[str, Any]:
    return described(replace(VIEW, source=replace(SOURCE, records=replace(WIDE, **changes))))


def test_everything_is_new_at_first() -> None:
    found = compare(EMPTY, described())
    assert {change.action for change in found} == {Action.ADDED}
    names = [f"{change.kind} {change.name}" for change in found]
    features = ["feature order:count", "feature order:doubled", "feature order:squared"]
    assert names == ["entity user", "source orders", "view order", "service model", *features]


def test_equal_definitions_are_no_change() -> None:
    assert compare(described(), described()) == []


def test_changed_code_affects_what_takes_the_feature() -> None:
    other = feature(name="doubled")(lambda amount: amount + amount)
    found = compare(described(), described(replace(VIEW, features=[other, squared, Field("count")])))
    assert [(c.action, c.kind, c.name) for c in found] == [(Action.CHANGED, "feature", "order:doubled")]
    assert "its code, or something that it uses" in found[0].details
    assert found[0].dependents == ("feature order:squared", "service model")


def test_each_output_of_a_function_is_a_feature() -> None:
    both = feature(name="both", outputs=("doubled", "halved"))(lambda amount: (amount * 2, amount / 2))
    found = compare(described(), described(replace(VIEW, features=[both, squared, Field("count")])))
    assert [(c.action, c.name) for c in found] == [(Action.ADDED, "order:halved"), (Action.CHANGED, "order:doubled")]
    assert found[1].dependents == ("feature order:squared", "service model")


def test_a_removed_feature_names_who_had_it() -> None:
    without = described(replace(VIEW, features=[doubled, squared]))
    assert compare(described(), without) == [Change(Action.REMOVED, "feature", "order:count")]
    [change] = compare(described(), described(replace(VIEW, features=[squared_of_amount, Field("count")])))[-1:]
    assert (change.name, change.dependents) == ("order:doubled", ("feature order:squared", "service model"))


def test_an_attribute_is_shown_before_and_after() -> None:
    [change] = compare(described(), described(replace(VIEW, ttl=timedelta(hours=1))))
    assert (change.kind, change.name, change.details) == ("view", "order", ("ttl: 86400.0 -> 3600.0",))
    assert change.dependents == ()  # the service names a feature, not the view


def test_fields_of_records_are_compared_by_name() -> None:
    [change] = compare(described(), with_records(fields=(*FIELDS, Field("new", optional=True))))
    assert (change.kind, change.details, change.dependents) == ("source", ("records.fields: new is new",), ("view order",))


def test_what_an_older_raytide_did_not_write_is_no_change() -> None:
    old = described()
    del old["views"]["order"]["owner"]
    assert compare(old, described()) == []


HARMLESS: dict[str, Callable[[], dict[str, Any]]] = {
    "a new optional field": lambda: with_records(fields=(*FIELDS, Field("new", optional=True))),
    "a field is dropped": lambda: with_records(fields=FIELDS[:2]),
    "an integer becomes a double": lambda: with_records(fields=(FIELDS[0], Field("count"), FIELDS[2])),
    "a required field becomes optional": lambda: with_records(fields=(replace(FIELDS[0], optional=True), *FIELDS[1:])),
    "other limits": lambda: with_records(fields=(replace(FIELDS[0], minimum=0), *FIELDS[1:])),
    "another ttl": lambda: described(replace(VIEW, ttl=None)),
    "a new source": lambda: described(VIEW, FileSource("files", Long())),
    "more partitions": lambda: described(replace(VIEW, source=replace(SOURCE, partitions=9))),
}
REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "another topic": (lambda: described(replace(VIEW, source=replace(SOURCE, topic="other"))), "declare another source"),
    "fewer partitions": (lambda: described(replace(VIEW, source=replace(SOURCE, partitions=1))), "cannot take partitions away"),
    "a file, no stream": (lambda: described(replace(VIEW, source=FileSource("orders", WIDE))), "declare another source"),
    "another time": (lambda: with_records(event_timestamp="time"), "event_timestamp is at and would be time"),
    "another unit": (lambda: with_records(timestamp_unit="ms"), "timestamp_unit is us and would be ms"),
    "another key": (lambda: with_records(join_key="uid"), "join_key is user_id and would be uid"),
    "a new required field": (lambda: with_records(fields=(*FIELDS, Field("new"))), "give it a default, or make it optional"),
    "optional becomes required": (
        lambda: with_records(fields=(*FIELDS[:2], Field("note", DType.STRING))),
        "may be left out and would be required",
    ),
    "a double becomes an integer": (
        lambda: with_records(fields=(*FIELDS, Field("weight", DType.INT64, optional=True))),
        "is float64 and would be int64",
    ),
    "a number becomes text": (
        lambda: with_records(fields=(*FIELDS, Field("weight", DType.STRING, optional=True))),
        "is float64 and would be string",
    ),
    "strict and a dropped field": (lambda: with_records(fields=FIELDS[:2], strict=True), "drops note"),
    "another entity": (lambda: described(replace(VIEW, entity=CARD)), "describes entity 'user' and would describe 'card'"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(name: str) -> None:
    assert list(incompatible(described(), HARMLESS[name]())) == []


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    new, message = REFUSED[name]
    before = with_records(fields=(*FIELDS, Field("weight", optional=True))) if "weight" in str(new()) else described()
    with pytest.raises(Misconfigured, match=message):
        check_compatible(before, new())


def test_nothing_in_force_refuses_nothing() -> None:
    check_compatible(EMPTY, described())
