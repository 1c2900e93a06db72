"""What definitions must hold to be taken: each check raises Misconfigured with the name at fault and the way out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from cluster.errors import Misconfigured
from cluster.ingest import dag
from cluster.registry.aggregation import Aggregation
from cluster.registry.aggregation_checks import check_aggregations
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
)
from cluster.registry.names import check_name, check_topic, near_matches
from cluster.registry.places import at, within

AnySource = StreamSource | FileSource

UNITS = ("s", "ms", "us")
#: Columns that answers and history have beside the features.
RESERVED = frozenset({"entity_id", "event_timestamp", "created_at"})
_NUMERIC = {DType.FLOAT64, DType.INT64}
_IS: Mapping[DType, Callable[[Any], bool]] = {
    DType.FLOAT64: lambda value: type(value) in {int, float} and abs(value) <= sys.float_info.max and float(value) == value,
    DType.INT64: lambda value: type(value) is int and -(2**63) <= value < 2**63,
    DType.STRING: lambda value: type(value) is str,
    DType.BOOL: lambda value: type(value) is bool,
}
_MAX_FEATURES = 2**15 - 1  # dictionary codes of feature names are int16


def check_entity(entity: Entity) -> None:
    """Check an entity by itself."""
    check_name("entity", entity.name)
    if not entity.join_key:
        raise Misconfigured(f"entity '{entity.name}' has an empty join key: name the column that identifies it")


def check_source(source: AnySource) -> None:
    """Check a source and the shape of its records."""
    check_name("source", source.name)
    if isinstance(source, StreamSource):
        check_topic(source.name, source.topic)
        if source.partitions < 1:
            raise Misconfigured(f"source '{source.name}': partitions is {source.partitions}, a topic has at least 1")
    records = source.records
    if not isinstance(records, Long | Wide):
        raise Misconfigured(f"source '{source.name}': records must be Long(...) or Wide(...), not {type(records).__name__}")
    if records.timestamp_unit not in UNITS:
        raise Misconfigured(
            f"source '{source.name}': timestamp_unit is {records.timestamp_unit!r}, units are {', '.join(UNITS)}",
        )
    _check_distinct(source.name, [name for name in record_fields(records) if name is not None])
    if isinstance(records, Wide):
        for field in records.fields:
            with at(field):
                _check_field(f"source '{source.name}', field '{field.name}'", field)


def record_fields(records: Long | Wide) -> list[str | None]:
    """Return the record fields that a source names; None for a `created_at` that is not mapped."""
    if isinstance(records, Long):
        return [records.entity_id, records.feature_name, records.value, records.event_timestamp, records.created_at]
    return [records.join_key, records.event_timestamp, records.created_at, *(f.name for f in records.fields)]


def check_topics(sources: Iterable[AnySource]) -> None:
    """Check that no two sources read the same topic: offsets are kept by topic and partition."""
    readers: dict[str, str] = {}
    for source in sources:
        if isinstance(source, StreamSource) and (first := readers.setdefault(source.topic, source.name)) != source.name:
            with at(source):
                raise Misconfigured(
                    f"sources '{first}' and '{source.name}' both read topic '{source.topic}': "
                    "keep one, several views can share it",
                )


def check_parts(view: FeatureView) -> None:
    """Check that a view is made of the right kinds of things, so that the other checks can look at them."""
    where = f"feature view '{view.name}'"
    if not isinstance(view.entity, Entity):
        raise Misconfigured(f"{where}: entity must be an Entity(...), not {type(view.entity).__name__}")
    if not isinstance(view.source, StreamSource | FileSource):
        raise Misconfigured(f"{where}: source must be a StreamSource(...) or FileSource(...), not {type(view.source).__name__}")
    for item in view.features:
        if not isinstance(item, Field | FeatureFunction | Aggregation):
            called = getattr(item, "__name__", type(item).__name__)
            raise Misconfigured(f"{where} lists {called}, neither a Field nor a feature: put @feature() above a function")
    if not isinstance(view.where, FeatureFunction | None):
        raise Misconfigured(f"{where}: where must be one function: put @feature() above it")


def check_view(view: FeatureView) -> None:
    """Check a view, its features and, with a wide source, the graph of its functions."""
    check_name("feature view", view.name)
    where = f"feature view '{view.name}'"
    if view.ttl is not None and not (isinstance(view.ttl, timedelta) and view.ttl >= timedelta(microseconds=1)):
        raise Misconfigured(f"{where}: ttl is {view.ttl!r}, give a positive timedelta, or None for values that never expire")
    if not view.features:
        raise Misconfigured(f"{where} has no features: list at least one")
    check_aggregations(where, view)
    _check_read_functions(where, view)
    for item in view.features:
        with at(item):
            _check_feature(where, item, view.entity)
    if isinstance(view.source.records, Long):
        _check_long(where, view)
    else:
        _check_wide(where, view, view.source.records)


def check_one_entity(views: Sequence[FeatureView]) -> None:
    """Check that views of one source describe the same entity, for a record has one entity id."""
    first: dict[str, FeatureView] = {}
    for view in views:
        other = first.setdefault(view.source.name, view)
        if other.entity != view.entity:
            with at(view):
                raise Misconfigured(
                    f"feature views '{other.name}' and '{view.name}' read source '{view.source.name}' as entity "
                    f"'{other.entity.name}' and as entity '{view.entity.name}': a record belongs to one entity, use two "
                    "sources",
                )
    for source, count in Counter(v.source.name for v in views for _ in v.stored).items():
        if count > _MAX_FEATURES:
            raise Misconfigured(f"source '{source}' has {count} features: {_MAX_FEATURES} is the most, use two sources")


def check_references(features: Iterable[str], views: Iterable[str], services: Mapping[str, FeatureService]) -> None:
    """Check that a reference means one thing: a feature, a view or a service."""
    kinds: dict[str, str] = {}
    for kind, names in (("feature", features), ("feature view", views), ("feature service", services)):
        for name in names:
            if name in kinds:
                raise Misconfigured(
                    f"'{name}' is both a {kinds[name]} and a {kind}: reads could not tell them apart, rename one"
                )
            kinds[name] = kind


def check_service(service: FeatureService) -> None:
    """Check a service by itself; whether its references exist is for the catalog."""
    check_name("feature service", service.name)
    for item in service.features:
        if not isinstance(item, FeatureView | str):
            raise Misconfigured(
                f"feature service '{service.name}' lists a {type(item).__name__}: list views, or 'view:feature' as text",
            )


def _check_feature(where: str, item: Field | FeatureFunction | Aggregation, entity: Entity) -> None:
    for name in item.names:
        check_name(f"{where}: feature", name)
        if name in {*RESERVED, entity.join_key}:
            raise Misconfigured(f"{where}: feature '{name}' has the name of a column that answers have anyway: rename it")
    if isinstance(item, Field) and item.dtype == DType.STRING:
        raise Misconfigured(
            f"{where}: feature '{item.name}' is a string, and a feature's value is a number: compute one with @feature",
        )
    for field in () if isinstance(item, Aggregation) else item.fields:
        _check_field(f"{where}, feature '{field.name}'", field)


def _check_long(where: str, view: FeatureView) -> None:
    if view.where:
        raise Misconfigured(f"{where}: where needs columns, and records of a Long source have none: use a Wide source")
    reads = {function.names[0] for function in view.read_functions}
    for item in view.features:
        if item.names[0] not in reads:
            with at(item):
                _check_finished(where, item, view.source.name)


def _check_finished(where: str, item: Field | FeatureFunction | Aggregation, source: str) -> None:
    """Check a feature of a view over a long source."""
    if isinstance(item, FeatureFunction):
        raise Misconfigured(
            f"{where}: feature '{item.name}' is a function, but source '{source}' is Long, whose records carry "
            "one finished value each: use a Wide source for functions, or a Field here",
        )
    if isinstance(item, Field) and item.default is not None:
        raise Misconfigured(f"{where}: feature '{item.name}' has a default, but a null of a Long source is a value")


def _check_filter(where: str, function: FeatureFunction, records: Wide) -> None:
    """Check that a view's `where` gives one answer, from columns of the source alone."""
    if function.outputs:
        raise Misconfigured(f"{where}: where='{function.name}' has several outputs: it gives true or false")
    if any(map(_is_limited, function.fields)):
        raise Misconfigured(f"{where}: where='{function.name}' has limits: it gives true or false")
    with within(f"{where}: where='{function.name}', which takes columns of its source only"):
        dag.check(function, inputs_of(records))


def _check_wide(where: str, view: FeatureView, records: Wide) -> None:
    columns = {field.name: field for field in records.fields}
    if view.where:
        _check_filter(where, view.where, records)
    for item in view.features:
        if isinstance(item, Field):
            with at(item):
                _check_taken(where, item, columns)
    with within(where):
        dag.order(view.record_functions, inputs_of(records))


def _check_read_functions(where: str, view: FeatureView) -> None:
    """Check functions that run on answers: they take features of their view, and nothing of a record, for there is none."""
    features = {*view.names}
    for function in view.read_functions:
        with (
            at(function),
            within(f"{where}, feature '{function.name}', which runs when it is read"),
        ):
            if taken := [name for name in function.inputs if name not in features]:
                raise Misconfigured(
                    f"it takes '{taken[0]}', which is no feature of the view: a window has no record to take it from"
                    f"{near_matches(taken[0], features - {*function.names})}"
                )
            if any(map(_is_limited, function.fields)):
                raise Misconfigured("it has limits, which reject records, and there is none: leave them out")
    with within(where):
        read_order(view)


def read_order(view: FeatureView) -> tuple[FeatureFunction, ...]:
    """Return the functions that run on answers so that each comes after those whose results it takes; raise Misconfigured."""
    made = {name for function in view.read_functions for name in function.names}
    return dag.order(view.read_functions, [name for name in view.names if name not in made])


def inputs_of(records: Wide) -> list[str]:
    """Return the columns of a wide source that functions can take."""
    return [name for name in record_fields(records) if name is not None]


def _check_taken(where: str, item: Field, columns: Mapping[str, Field]) -> None:
    column = columns.get(item.name)
    if column is None:
        raise Misconfigured(
            f"{where}: its source has no field '{item.name}' to take as a feature{near_matches(item.name, columns)}"
        )
    if column.dtype == DType.STRING:
        raise Misconfigured(f"{where}: field '{item.name}' of its source is a string: compute a number from it with @feature")
    if _rules(item) not in (_rules(column), (None, None, None, None)):
        raise Misconfigured(
            f"{where}: feature '{item.name}' has limits or a default of its own: declare them on the source's field",
        )


def _check_distinct(source: str, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if not isinstance(name, str) or not name:
            raise Misconfigured(f"source '{source}' names a record field {name!r}: names are texts that are not empty")
        if count > 1:
            raise Misconfigured(
                f"source '{source}' uses record field '{name}' {count} times: join key, times and declared fields differ "
                "(functions can take the join key and the times without declaring them)",
            )


def _check_field(where: str, field: Field) -> None:
    if field.dtype not in tuple(DType):
        raise Misconfigured(f"{where}: dtype is {field.dtype!r}, types are {', '.join(DType)}")
    for bound, limit in (("minimum", field.minimum), ("maximum", field.maximum)):
        if not isinstance(limit, int | float | None):
            raise Misconfigured(f"{where}: {bound} {limit!r} is not a number")
    limits = [limit for limit in (field.minimum, field.maximum) if limit is not None]
    if limits and field.dtype not in _NUMERIC:
        raise Misconfigured(f"{where}: minimum and maximum need a number, and it is a {field.dtype}: use allowed=(...)")
    if any(limit != limit for limit in limits) or limits != sorted(limits):  # noqa: PLR0124 - NaN is unequal to itself
        raise Misconfigured(f"{where}: minimum {field.minimum} is not below maximum {field.maximum}, so nothing would pass")
    if field.allowed is not None:
        _check_allowed(where, field.dtype, field.allowed)
    if field.default is not None:
        _check_default(where, field, field.default)


def _check_allowed(where: str, dtype: DType, allowed: Any) -> None:
    if isinstance(allowed, str) or not allowed:
        raise Misconfigured(f"{where}: allowed must be a tuple of values, such as allowed=('a', 'b')")
    fits = str if dtype == DType.STRING else (int, float)
    if not all(isinstance(value, fits) for value in allowed):
        raise Misconfigured(f"{where}: allowed values must be of its type, {dtype}")


def _check_default(where: str, field: Field, default: Any) -> None:
    if field.optional:
        raise Misconfigured(f"{where}: it is optional and has a default, so that nobody ever sees a null: choose one of them")
    if not _IS[field.dtype](default):
        raise Misconfigured(f"{where}: default {default!r} is not of its type, {field.dtype}")
    below = field.minimum is not None and default < field.minimum
    above = field.maximum is not None and default > field.maximum
    if below or above or (field.allowed is not None and default not in field.allowed):
        raise Misconfigured(f"{where}: default {default!r} is outside its own limits, so it would always be rejected")


def _is_limited(field: Field) -> bool:
    return _rules(field) != (None, None, None, None)


def _rules(field: Field) -> tuple[Any, Any, Any, Any]:
    return field.minimum, field.maximum, field.allowed, field.default
