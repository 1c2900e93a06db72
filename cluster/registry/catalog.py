"""The checked set of definitions: what the path, the gateway and the reads look names up in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from cluster.errors import Misconfigured, NotFound
from cluster.registry import checks
from cluster.registry.aggregation import Aggregation
from cluster.registry.checks import AnySource
from cluster.registry.definitions import (
    Entity,
    FeatureFunction,
    FeatureService,
    FeatureView,
    Field,
    StreamSource,
)
from cluster.registry.description import describe
from cluster.registry.names import near_matches
from cluster.registry.places import at

__all__ = [
    "AnySource",
    "Catalog",
    "FeatureSpec",
    "ReadFunction",
    "build",
    "near_matches",
    "references_of",
    "ttl_microseconds",
]


@dataclass(frozen=True, slots=True)
class ReadFunction:
    """How a feature is computed when it is read: by which function, of which features' answers."""

    function: FeatureFunction
    inputs: tuple[FeatureSpec, ...]


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """A feature as readers and validation see it."""

    name: str
    view: str
    entity: str
    join_key: str
    source: str
    online: bool
    ttl_us: int | None
    field: Field | None  # None for a feature that a function computes
    aggregation: Aggregation | None = None  # of a feature that is computed when it is read
    computed: ReadFunction | None = None  # of one that is computed from the answers of others then

    @property
    def rows(self) -> tuple[str, ...]:
        """Return the names of the features whose rows in history a read of it looks at."""
        if self.computed:
            return tuple(dict.fromkeys(name for spec in self.computed.inputs for name in spec.rows))
        return self.aggregation.inputs if self.aggregation else (self.name,)

    @property
    def is_stored(self) -> bool:
        """Return whether history has rows of it, and Redis its newest value."""
        return not self.aggregation and not self.computed


@dataclass(frozen=True)
class Catalog:
    """All definitions of a project, found by name. `version` is 0 until the writer has registered it."""

    project: str
    entities: Mapping[str, Entity]
    sources: Mapping[str, AnySource]
    views: Mapping[str, FeatureView]
    services: Mapping[str, FeatureService]
    features: Mapping[str, FeatureSpec] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)  # what each function computes, see code_hash
    version: int = 0
    content_hash: str = ""

    def registered_as(self, version: int) -> Catalog:
        """Return this catalog under the version number that the writer gave it."""
        return replace(self, version=version)

    @property
    def stream_sources(self) -> list[StreamSource]:
        """Return the sources that have a Kafka topic, in name order."""
        return sorted((s for s in self.sources.values() if isinstance(s, StreamSource)), key=lambda s: s.name)

    def source(self, name: str) -> AnySource:
        """Return the source called `name`; raise NotFound with near matches."""
        return self.sources[self._known(name, self.sources, "source")]

    def views_of(self, source: str) -> list[FeatureView]:
        """Return the views computed from `source`, in name order."""
        return sorted((v for v in self.views.values() if v.source.name == source), key=lambda v: v.name)

    def features_of(self, source: str) -> list[FeatureSpec]:
        """Return the features that records of `source` give, in a fixed order: by view name, then as written in the view."""
        return [self.features[name] for view in self.views_of(source) for name in view.stored]

    def online_names(self, source: str | None = None) -> list[str]:
        """Return the names of the features whose newest values are kept online, of one source or of all, sorted."""
        kept = (f for f in self.features.values() if f.online and f.is_stored)
        return sorted(f.name for f in kept if source in (None, f.source))

    def describe(self) -> dict[str, Any]:
        """Return the definitions as plain values that JSON can hold, for the registry's table and for comparison."""
        return {
            "project": self.project,
            "entities": describe(self.entities),
            "sources": describe(self.sources),
            "views": {name: self._with_code(described) for name, described in describe(self.views).items()},
            "services": {name: {**describe(s), "features": references_of(s)} for name, s in sorted(self.services.items())},
        }

    def _with_code(self, view: dict[str, Any]) -> dict[str, Any]:
        return {**view, "features": [self._hashed(f) for f in view["features"]], "where": self._hashed(view["where"])}

    def _hashed(self, described: dict[str, Any] | None) -> dict[str, Any] | None:
        if described is None or described["name"] not in self.code:
            return described
        return {**described, "source_hash": self.code[described["name"]]}

    def resolve(self, references: Sequence[str]) -> list[FeatureSpec]:
        """Return the features meant by `feature`, `view:feature`, a view's name or a service's name, in order.

        Raise NotFound for the first unknown reference, with near matches.
        """
        return [spec for reference in references for spec in self._resolve_one(reference)]

    def _resolve_one(self, reference: str) -> list[FeatureSpec]:
        view, _, name = reference.rpartition(":")
        if view:
            spec = self.features[self._known(name, self.features, "feature")]
            if spec.view != view:
                raise NotFound(f"feature '{name}' belongs to view '{spec.view}', not '{view}': ask for '{spec.view}:{name}'")
            return [spec]
        if reference in self.features:
            return [self.features[reference]]
        if reference in self.views:
            return [self.features[name] for name in self.views[reference].names]
        if reference in self.services:
            return self.resolve(references_of(self.services[reference]))
        self._known(reference, [*self.features, *self.views, *self.services], "feature, view or service")
        raise AssertionError  # _known raised

    @staticmethod
    def _known(name: str, names: Iterable[str], what: str) -> str:
        if name in (known := list(names)):
            return name
        raise NotFound(f"no {what} is called '{name}'{near_matches(name, known)}")


def references_of(service: FeatureService) -> list[str]:
    """Return a service's features as references that `Catalog.resolve` takes."""
    return [f if isinstance(f, str) else f.name for f in service.features]


def ttl_microseconds(ttl: timedelta | None) -> int | None:
    """Return a ttl in microseconds, exactly."""
    return None if ttl is None else ttl // timedelta(microseconds=1)


def build(project: str, values: Iterable[object]) -> Catalog:
    """Collect definitions, also those in lists and tuples, into a checked catalog.

    Views that a service names, and entities and sources that a view names, count as found. Raise Misconfigured with
    the name at fault.
    """
    found = list(_flat(values))
    services = _by_name(found, FeatureService, "feature service")
    for service in services.values():
        with at(service):
            checks.check_service(service)
    views = _by_name([*found, *(f for s in services.values() for f in s.features)], FeatureView, "feature view")
    for view in views.values():
        with at(view):
            checks.check_parts(view)
    catalog = Catalog(
        project=project,
        entities=_by_name([*found, *(v.entity for v in views.values())], Entity, "entity"),
        sources=_by_name([*found, *(v.source for v in views.values())], AnySource, "source"),
        views=views,
        services=services,
    )
    _check_parts(catalog)
    catalog = replace(catalog, features=_features(views.values()))
    _check_services(catalog)
    return catalog


def _flat(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _by_name(values: Iterable[Any], kind: Any, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        if not isinstance(value, kind):
            continue
        if (first := found.setdefault(value.name, value)) != value:
            with at(value):
                raise Misconfigured(f"another {what} '{value.name}' is defined at {first.place}: rename one")
    return found


def _features(views: Iterable[FeatureView]) -> dict[str, FeatureSpec]:
    features: dict[str, FeatureSpec] = {}
    for view in views:
        with at(view):
            checks.check_view(view)
        for name, item in ((name, listed) for listed in view.features for name in listed.names):
            if name in features:
                with at(item):
                    raise Misconfigured(_defined_twice(name, features[name].view, view.name))
            features[name] = FeatureSpec(
                name=name,
                view=view.name,
                entity=view.entity.name,
                join_key=view.entity.join_key,
                source=view.source.name,
                online=view.online,
                ttl_us=ttl_microseconds(view.ttl) if name in view.stored else None,
                field=item if isinstance(item, Field) else None,
                aggregation=item if isinstance(item, Aggregation) else None,
            )
        for function in checks.read_order(view):
            inputs = tuple(features[name] for name in function.inputs)
            for name in function.names:
                features[name] = replace(features[name], computed=ReadFunction(function, inputs))
    return features


def _defined_twice(feature: str, first: str, second: str) -> str:
    if first == second:
        return f"feature view '{first}' lists feature '{feature}' twice: rename one"
    return (
        f"feature '{feature}' is defined in view '{first}' and in view '{second}': "
        "feature names are unique in a project, rename one"
    )


def _check_parts(catalog: Catalog) -> None:
    for entity in catalog.entities.values():
        with at(entity):
            checks.check_entity(entity)
    for source in catalog.sources.values():
        with at(source):
            checks.check_source(source)
    checks.check_topics(catalog.sources.values())
    checks.check_one_entity(list(catalog.views.values()))


def _check_services(catalog: Catalog) -> None:
    checks.check_references(catalog.features, catalog.views, catalog.services)
    for service in catalog.services.values():
        with at(service):
            try:
                catalog.resolve(references_of(service))
            except NotFound as error:
                raise Misconfigured(f"feature service '{service.name}': {error}") from error
