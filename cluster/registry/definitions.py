"""What a user writes in `definitions.py`: entities, sources, feature views, services, and feature functions.

All are frozen values. Nothing is registered as a side effect of creating one: the catalog collects the values that it
finds in the module's namespace.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from cluster.errors import Misconfigured
from cluster.registry.aggregation import Aggregation
from cluster.registry.places import here


class DType(StrEnum):
    """Type of a source column. A feature's value is always a double."""

    FLOAT64 = "float64"
    INT64 = "int64"
    STRING = "string"
    BOOL = "bool"


@dataclass(frozen=True, slots=True)
class Field:
    """A named column of a wide source, or a feature that is taken as it comes.

    `minimum` and `maximum` (inclusive) and `allowed` reject with `out_of_range`. A null is rejected with
    `missing_field` unless `optional`. As a feature of a view over a long source, null is always a value.

    A source's field may have a `default`, which stands for a missing or null value before anything is checked.
    """

    name: str
    dtype: DType = DType.FLOAT64
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[str | float, ...] | None = None
    default: str | float | None = None
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)  # file:line of its definition

    @property
    def required(self) -> bool:
        """Return whether a record without a value for it is rejected."""
        return not self.optional and self.default is None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the one feature that this is in a view."""
        return (self.name,)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return itself, as a function returns the fields of its features."""
        return (self,)


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that features describe, such as a user; `join_key` is the column that identifies it in training data."""

    name: str
    join_key: str
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Long:
    """Records that carry one feature value each. The attributes say which record field holds what.

    `timestamp_unit` (s, ms, us) is read for integer times; text is RFC 3339, without an offset UTC.
    """

    entity_id: str = "entity_id"
    feature_name: str = "feature_name"
    value: str = "value"
    event_timestamp: str = "event_timestamp"
    created_at: str | None = None
    timestamp_unit: str = "us"
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Wide:
    """Records with one declared column for each fact; one is the join key and one the time.

    `strict` rejects records with columns that are neither declared nor named here.
    """

    join_key: str
    event_timestamp: str
    fields: tuple[Field, ...]
    created_at: str | None = None
    timestamp_unit: str = "us"
    strict: bool = False


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A Kafka topic keyed by entity. Files of the same record shape can be uploaded to it as well."""

    name: str
    topic: str
    records: Long | Wide
    partitions: int = 2
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Records that come only as uploaded files."""

    name: str
    records: Long | Wide
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)


class Mode(StrEnum):
    """How a feature function is called: once for each event, or once for a batch with Series or arrays."""

    ROW = "row"
    PANDAS = "pandas"
    NUMPY = "numpy"


@dataclass(frozen=True, slots=True)
class FeatureFunction:
    """A function whose parameter names are its inputs: columns of the source or other features of the view.

    It computes each event by itself: which events share a batch is chance. `outputs` names the features of a function
    that returns a tuple; without them its value is the feature `name`. `minimum`, `maximum` (inclusive) and `allowed` hold
    for each of its features. `source_hash` is the SHA-256 of its text, empty when that cannot be read.
    """

    name: str
    function: Callable[..., Any]
    mode: Mode
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[float, ...] | None = None
    description: str = ""
    source_hash: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the features that this computes, in the order of its result."""
        return self.outputs or (self.name,)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return its features as fields, with the limits of their values."""
        return tuple(Field(n, minimum=self.minimum, maximum=self.maximum, allowed=self.allowed) for n in self.names)


def feature(
    mode: str = "row",
    *,
    name: str | None = None,
    outputs: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    allowed: Sequence[float] | None = None,
) -> Callable[[Callable[..., Any]], FeatureFunction]:
    """Turn a function into a feature: `@feature(mode="pandas") def amount_usd(amount, currency): ...`.

    `mode` is `row` (scalars in, one number, bool or None out), `pandas` (Series in, Series of the same length out) or
    `numpy` (arrays in, array of the same length out). The function's name is the feature's name unless given.
    Parameters name columns of the source, among them its join key and times (UTC), or features of the same view, which
    come as doubles. A null comes as None in `row` mode and as NaN otherwise; optional numbers and bools are doubles there.

    With `outputs` it computes several features at once, and returns a tuple with one result for each of these names.
    A value outside `minimum` and `maximum` (inclusive) or not among `allowed` rejects its event with `out_of_range`.
    """
    if mode not in tuple(Mode):
        raise Misconfigured(f"@feature(mode={mode!r}): modes are {', '.join(Mode)}; write @feature() for row")
    if isinstance(outputs, str):
        raise Misconfigured(f"@feature(outputs={outputs!r}): list the names, as outputs=({outputs!r}, ...)")

    def decorate(function: Callable[..., Any]) -> FeatureFunction:
        called = str(name or getattr(function, "__name__", ""))
        try:
            inputs = tuple(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            raise Misconfigured(f"@feature: {called or 'this'} is not a function with readable parameters: use a def") from None
        return FeatureFunction(
            name=called,
            function=function,
            mode=Mode(mode),
            inputs=inputs,
            outputs=tuple(outputs),
            minimum=minimum,
            maximum=maximum,
            allowed=None if allowed is None else tuple(allowed),
            description=inspect.cleandoc(function.__doc__ or ""),
            source_hash=_source_hash(function),
            place=_place_of(function),
        )

    return decorate


def _place_of(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else here()


def _source_hash(function: Callable[..., Any]) -> str:
    try:
        return hashlib.sha256(inspect.getsource(inspect.unwrap(function)).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Features of one entity from one source, with one ttl.

    `online` features are kept in Redis as well. A value older than `ttl` is OUTSIDE_MAX_AGE online and does not join
    in the past; no ttl means that values never expire. Feature names are unique in a project.

    `where` is a function of source columns: events for which it is false or null have no rows in this view, and no
    function of the view sees them. They are no rejects, and other views have their rows all the same.

    An `Aggregation` is a feature over a window of another feature of the view; a ttl does not concern it. A function that
    takes one runs when somebody reads, on the answers.
    """

    name: str
    entity: Entity
    source: StreamSource | FileSource
    features: Sequence[Field | FeatureFunction | Aggregation]
    online: bool = False
    ttl: timedelta | None = None
    where: FeatureFunction | None = None
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all features, in the order in which they are listed."""
        return tuple(name for item in self.features for name in item.names)

    @property
    def read_functions(self) -> tuple[FeatureFunction, ...]:
        """Return the functions that take an aggregation, or the result of one that does: they run when somebody reads."""
        names, found = {item.name for item in self.features if isinstance(item, Aggregation)}, dict[str, FeatureFunction]()
        functions = [item for item in self.features if isinstance(item, FeatureFunction)]
        while more := [f for f in functions if f.names[0] not in found and names & set(f.inputs)]:
            found |= {function.names[0]: function for function in more}
            names |= {name for function in more for name in function.names}
        return tuple(function for function in functions if function.names[0] in found)

    @property
    def record_functions(self) -> tuple[FeatureFunction, ...]:
        """Return the functions that run once for each record, when it comes in."""
        reads = {function.names[0] for function in self.read_functions}
        return tuple(f for f in self.features if isinstance(f, FeatureFunction) and f.names[0] not in reads)

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the names of those that history has: the others are computed from them when they are read."""
        reads = {function.names[0] for function in self.read_functions}
        kept = (item for item in self.features if not isinstance(item, Aggregation) and item.names[0] not in reads)
        return tuple(name for item in kept for name in item.names)


@dataclass(frozen=True, slots=True)
class FeatureService:
    """A named list of features that a model reads together, as `view:feature` or whole views."""

    name: str
    features: Sequence[FeatureView | str]
    description: str = ""
    place: str = field(default_factory=here, compare=False, repr=False, kw_only=True)
