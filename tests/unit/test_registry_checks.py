"""What definitions must hold, and what is said when they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cluster.errors import Misconfigured
from cluster.registry.catalog import build
from cluster.registry.definitions import (
    DType,
    Entity,
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
LONG = StreamSource("values", "values", Long())
RECORDS = Wide("user_id", "at", (Field("amount"), Field("currency", DType.STRING), Field("limited", minimum=0, maximum=9)))
WIDE = StreamSource("orders", "orders", RECORDS)


@feature()
def doubled(amount: float) -> float:
    return 2 * amount


def view(*features: Any, name: str = "view", source: Any = WIDE, **settings: Any) -> FeatureView:
    return FeatureView(name, settings.pop("entity", USER), source, features or (doubled,), **settings)


def refused(*values: object) -> str:
    with pytest.raises(Misconfigured) as caught:
        build("project", values)
    return str(caught.value)


def computing(*inputs: str, name: str = "total") -> Any:
    return feature(name=name)(eval(f"lambda {', '.join(inputs)}: 0"))  # noqa: S307 - a lambda with these parameters


def test_good_definitions_pass() -> None:
    catalog = build("project", [view(doubled, Field("amount")), view(Field("score"), name="long", source=LONG, online=True)])
    assert [f.name for f in catalog.features_of("orders")] == ["doubled", "amount"]
    assert catalog.online_names() == ["score"]
    assert list(catalog.entities) == ["user"]
    assert [s.name for s in catalog.stream_sources] == ["orders", "values"]


def test_definitions_in_lists_and_in_services_are_found() -> None:
    listed, served = view(name="listed"), view(Field("amount"), name="served")
    catalog = build("project", [[listed], FeatureService("service", [served])])
    assert set(catalog.views) == {"listed", "served"}


@pytest.mark.parametrize("name", ["", "Upper", "9lives", "with space", "a:b", "a-b", "_a", "é", "x" * 129, None, 3])
@pytest.mark.parametrize(
    "named",
    [
        lambda name: Entity(name, "user_id"),
        lambda name: replace(WIDE, name=name),
        lambda name: view(name=name),
        lambda name: view(Field(name), source=LONG),
        lambda name: FeatureService(name, [view()]),
    ],
    ids=["entity", "source", "view", "feature", "service"],
)
def test_names_are_plain(named: Callable[[Any], object], name: Any) -> None:
    assert f"{name!r}: names are lower case letters" in refused(named(name))


@pytest.mark.parametrize("topic", ["", ".", "..", "with space", "a/b", "ü", "x" * 237, None])
def test_topics_are_names_that_kafka_takes(topic: Any) -> None:
    assert "source 'orders'" in (said := refused(replace(WIDE, topic=topic)))
    assert f"{topic!r} is not a topic name" in said


def test_two_sources_cannot_share_a_topic() -> None:
    assert "'orders' and 'other' both read topic 'orders'" in refused(WIDE, replace(WIDE, name="other"))


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(days=-1), 30, "30d", timedelta(microseconds=0)])
def test_a_ttl_is_a_positive_duration(ttl: Any) -> None:
    assert "feature view 'view': ttl is" in refused(view(ttl=ttl))


@pytest.mark.parametrize("unit", ["ns", "seconds", "", None])
@pytest.mark.parametrize("records", [Long(), RECORDS])
def test_time_units_are_known(records: Long | Wide, unit: Any) -> None:
    assert "units are s, ms, us" in refused(FileSource("files", replace(records, timestamp_unit=unit)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([WIDE, replace(WIDE, partitions=3)], "another source 'orders'"),
        ([USER, Entity("user", "customer_id")], "another entity 'user'"),
        ([view(), view(ttl=timedelta(1))], "another feature view 'view'"),
        ([view(), view(name="other")], "feature 'doubled' is defined in view 'view' and in view 'other'"),
        ([view(doubled, doubled)], "feature 'doubled' is defined twice"),
        ([view(Field("amount"), Field("amount"))], "lists feature 'amount' twice"),
        ([view(name="doubled")], "'doubled' is both a feature and a feature view"),
        ([view(), FeatureService("view", ["doubled"])], "'view' is both a feature view and a feature service"),
        ([view(), view(Field("amount"), name="b", entity=Entity("shop", "shop_id"))], "as entity 'user' and as entity 'shop'"),
    ],
)
def test_a_name_means_one_thing(values: list[object], said: str) -> None:
    assert said in refused(*values)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (computing("amuont"), "feature view 'view': feature 'total' takes 'amuont', which is neither .* did you mean 'amount'"),
        (computing("total"), "feature view 'view': features need each other in a circle: total -> total"),
        (computing("currency", name="amount"), "feature view 'view': feature 'amount' has the name of a column"),
        (computing("user_id", name="event_timestamp"), "feature 'event_timestamp' has the name of a column that answers have"),
        (computing("amount", name="user_id"), "feature 'user_id' has the name of a column that answers have"),
        (Field("amuont"), "its source has no field 'amuont' to take as a feature; did you mean 'amount'"),
        (Field("currency"), "field 'currency' of its source is a string"),
        (Field("currency", DType.STRING), "feature 'currency' is a string, and a feature's value is a number"),
        (Field("amount", minimum=3), "feature 'amount' has limits or a default of its own: declare them on the source's field"),
        (Field("amount", allowed=[1.0]), "feature 'amount' has limits or a default of its own"),  # type: ignore[arg-type]
        (Field("amount", default=3), "feature 'amount' has limits or a default of its own"),
        (doubled.function, "lists doubled, neither a Field nor a feature: put @feature"),
        ("amount", "lists str, neither a Field nor a feature"),
    ],
)
def test_features_of_a_wide_source_can_be_computed(bad: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        build("project", [view(bad)])


def test_a_field_may_repeat_the_limits_of_its_column() -> None:
    assert set(build("project", [view(Field("limited", minimum=0, maximum=9))]).features) == {"limited"}


def test_functions_take_the_join_key_and_the_times() -> None:
    source = replace(WIDE, records=replace(RECORDS, created_at="seen"))
    assert set(build("project", [view(computing("user_id", "at", "seen"), source=source)]).features) == {"total"}


def test_functions_see_their_own_view_only() -> None:
    assert "takes 'doubled', which is neither" in refused(view(), view(computing("doubled"), name="other"))


def split(*outputs: str) -> Any:
    return feature(name="split", outputs=outputs)(lambda amount: (amount,) * len(outputs))


def test_outputs_are_features_by_their_names() -> None:
    catalog = build("project", [view(split("net", "tax"), doubled), FeatureService("model", ["view:tax"])])
    assert [f.name for f in catalog.features_of("orders")] == ["net", "tax", "doubled"]
    assert [f.name for f in catalog.resolve(["view"])] == ["net", "tax", "doubled"]
    assert [f.name for f in catalog.resolve(["model"])] == ["tax"]


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([split("net", "net")], "feature 'net' is defined twice"),
        ([split("doubled", "net"), doubled], "feature 'doubled' is defined twice"),
        ([split("amount", "net")], "feature 'amount' has the name of a column"),
        ([split("user_id", "net")], "feature 'user_id' has the name of a column that answers have anyway"),
        ([split("Net", "tax")], "feature 'Net': names are lower case letters"),
    ],
)
def test_outputs_are_checked_like_features(features: Sequence[Any], said: str) -> None:
    assert said in refused(view(*features))


def test_an_output_is_unique_in_the_project() -> None:
    said = "feature 'tax' is defined in view 'view' and in view 'other'"
    assert said in refused(view(split("net", "tax")), view(computing("amount", name="tax"), name="other"))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"minimum": 2, "maximum": 1}, "feature 'total': minimum 2 is not below maximum 1"),
        ({"allowed": ()}, "feature 'total': allowed must be a tuple of values"),
        ({"allowed": ("EUR",)}, "feature 'total': allowed values must be of its type, float64"),
        ({"minimum": "0"}, "feature 'total': minimum '0' is not a number"),
    ],
)
def test_limits_of_functions_make_sense(limits: dict[str, Any], said: str) -> None:
    assert said in refused(view(feature(name="total", **limits)(lambda amount: amount)))


def test_outputs_are_a_list_of_names() -> None:
    with pytest.raises(Misconfigured, match=r"@feature\(outputs='net'\): list the names"):
        feature(outputs="net")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("amount > 1", "feature view 'view': where must be one function: put @feature() above it"),
        ([computing("amount")], "where must be one function"),
        (split("net", "tax"), "where='split' has several outputs: it gives true or false"),
        (feature(name="above", minimum=0)(lambda amount: amount > 1), "where='above' has limits: it gives true or false"),
        (computing("doubled"), "where='total', which takes columns of its source only: feature 'total' takes 'doubled'"),
        (computing("amonut"), "did you mean 'amount'?"),
        (computing(), "feature 'total' takes no inputs"),
    ],
)
def test_a_filter_is_a_function_of_columns(where: Any, said: str) -> None:
    assert said in refused(view(doubled, where=where))


def test_a_filter_is_no_feature() -> None:
    catalog = build("project", [view(doubled, where=computing("amount", name="amount"))])
    assert list(catalog.features) == ["doubled"]


def test_a_long_source_has_no_filter() -> None:
    assert "records of a Long source have none" in refused(view(Field("score"), source=LONG, where=computing("value")))


def test_a_long_source_has_no_functions() -> None:
    assert "feature 'doubled' is a function, but source 'values' is Long" in refused(view(source=LONG))


def test_a_long_source_has_no_text_features() -> None:
    assert "feature 'colour' is a string" in refused(view(Field("colour", DType.STRING), source=LONG))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (replace(RECORDS, event_timestamp="user_id"), "uses record field 'user_id' 2 times"),
        (replace(RECORDS, created_at="at"), "uses record field 'at' 2 times"),
        (replace(RECORDS, fields=(Field("at"),)), "uses record field 'at' 2 times"),
        (replace(RECORDS, fields=(Field("user_id", DType.STRING),)), "uses record field 'user_id' 2 times"),
        (replace(RECORDS, fields=(Field("a"), Field("a"))), "uses record field 'a' 2 times"),
        (replace(RECORDS, fields=(Field(""),)), "names a record field ''"),
        (Long(value="entity_id"), "uses record field 'entity_id' 2 times"),
        (Long(created_at="event_timestamp"), "uses record field 'event_timestamp' 2 times"),
        ("long", "records must be Long(...) or Wide(...), not str"),
    ],
)
def test_record_fields_are_different(records: Any, said: str) -> None:
    assert said in refused(FileSource("files", records))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (Field("a", "float"), "dtype is 'float', types are float64, int64, string, bool"),  # type: ignore[arg-type]
        (Field("a", minimum=2, maximum=1), "minimum 2 is not below maximum 1"),
        (Field("a", minimum=float("nan")), "minimum nan"),
        (Field("a", maximum="9"), "maximum '9' is not a number"),  # type: ignore[arg-type]
        (Field("a", DType.STRING, minimum=1), "minimum and maximum need a number, and it is a string"),
        (Field("a", DType.BOOL, maximum=1), "minimum and maximum need a number, and it is a bool"),
        (Field("a", DType.STRING, allowed="abc"), "allowed must be a tuple of values"),  # type: ignore[arg-type]
        (Field("a", DType.STRING, allowed=()), "allowed must be a tuple of values"),
        (Field("a", DType.STRING, allowed=(1.0,)), "allowed values must be of its type, string"),
        (Field("a", allowed=("x",)), "allowed values must be of its type, float64"),
    ],
)
def test_limits_of_fields_make_sense(field: Field, said: str) -> None:
    assert said in refused(replace(WIDE, records=Wide("user_id", "at", (field,))))
    if field.dtype != DType.STRING:
        assert said in refused(view(field, source=LONG))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (Field("a", default=1, optional=True), "it is optional and has a default"),
        (Field("a", default="1"), "default '1' is not of its type, float64"),
        (Field("a", default=True), "default True is not of its type, float64"),
        (Field("a", default=float("nan")), "default nan is not of its type, float64"),
        (Field("a", default=10**400), "is not of its type, float64"),
        (Field("a", default=2**53 + 1), "is not of its type, float64"),
        (Field("a", DType.INT64, default=1.0), "default 1.0 is not of its type, int64"),
        (Field("a", DType.INT64, default=2**63), "is not of its type, int64"),
        (Field("a", DType.STRING, default=0), "default 0 is not of its type, string"),
        (Field("a", DType.BOOL, default=0), "default 0 is not of its type, bool"),
        (Field("a", default=1, minimum=2), "default 1 is outside its own limits"),
        (Field("a", default=1, maximum=0), "default 1 is outside its own limits"),
        (Field("a", DType.STRING, default="c", allowed=("a", "b")), "default 'c' is outside its own limits"),
    ],
)
def test_defaults_are_values_that_would_pass(field: Field, said: str) -> None:
    assert said in refused(replace(WIDE, records=Wide("user_id", "at", (field,))))


def test_a_long_source_has_no_defaults() -> None:
    assert "feature 'score' has a default, but a null of a Long source is a value" in refused(
        view(Field("score", default=0), source=LONG)
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (replace(WIDE, partitions=0), "partitions is 0"),
        (Entity("user", ""), "entity 'user' has an empty join key"),
        (replace(view(), features=()), "has no features"),
        (view(entity="user"), "entity must be an Entity(...), not str"),
        (view(source="orders"), "source must be a StreamSource(...) or FileSource(...), not str"),
        (FeatureService("service", ["viev"]), "feature service 'service': no feature, view or service is called 'viev'"),
        (FeatureService("service", ["view:other"]), "feature service 'service': no feature is called 'other'"),
        (FeatureService("service", [doubled]), "lists a FeatureFunction"),  # type: ignore[list-item]
    ],
)
def test_parts_are_complete(value: object, said: str) -> None:
    others = [view(Field("amount"))] if isinstance(value, FeatureService) else []
    assert said in refused(*others, value)


@pytest.mark.parametrize("mode", ["rows", "", doubled.function, ["row"]])
def test_modes_are_known(mode: Any) -> None:
    with pytest.raises(Misconfigured, match=r"modes are row, pandas, numpy; write @feature\(\) for row"):
        feature(mode)


@pytest.mark.parametrize("thing", [3, None, max])
def test_only_functions_with_parameters_become_features(thing: Any) -> None:
    with pytest.raises(Misconfigured, match="use a def"):
        feature()(thing)
