"""Definitions for people who look around: lists by kind, tag and owner, and one of them in full. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cluster.errors import NotFound, Refused
from cluster.lineage.definitions import names_of
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.registry.definitions import FeatureView
from cluster.registry.description import describe
from cluster.registry.names import near_matches

_COMMON = ("name", "description", "owner", "tags")


class DefinitionKind(StrEnum):
    """The kinds of things that a project defines."""

    ENTITY = "entity"
    SOURCE = "source"
    VIEW = "view"
    FEATURE = "feature"
    SERVICE = "service"


#: Kinds that have an owner and tags; a feature has those of its view.
OWNED = frozenset({DefinitionKind.VIEW, DefinitionKind.FEATURE})


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that is defined. `facts` says the rest in plain values, other ones for each kind."""

    kind: DefinitionKind
    name: str
    description: str
    owner: str
    tags: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which definitions of a kind; an empty text selects all."""

    kind: DefinitionKind
    tag: str = ""
    owner: str = ""


def listed(catalog: Catalog, wanted: Filter) -> list[Definition]:
    """Return the definitions that a filter selects, by name; raise Refused for a kind that has no tags or owners."""
    for name in ("tag", "owner"):
        if getattr(wanted, name) and wanted.kind not in OWNED:
            raise Refused(
                f"{name}: a definition of kind '{wanted.kind}' has none, only views have, and features through theirs"
            )
    return [
        found for found in _all(catalog, wanted.kind) if wanted.tag in {"", *found.tags} and wanted.owner in {"", found.owner}
    ]


def described(catalog: Catalog, kind: DefinitionKind, name: str) -> Definition:
    """Return one definition; a feature may be named `view:feature` as well. Raise NotFound with near matches."""
    if kind is DefinitionKind.FEATURE and ":" in name:
        name = catalog.resolve([name])[0].name
    known = {found.name: found for found in _all(catalog, kind)}
    if name not in known:
        raise NotFound(f"no {kind} is called '{name}'{near_matches(name, known)}")
    return known[name]


def _all(catalog: Catalog, kind: DefinitionKind) -> Iterator[Definition]:
    found = _FINDERS[kind](catalog)
    return iter(sorted(found, key=lambda definition: definition.name))


def _entities(catalog: Catalog) -> Iterator[Definition]:
    for entity in catalog.entities.values():
        views = sorted(view.name for view in catalog.views.values() if view.entity.name == entity.name)
        yield _definition(DefinitionKind.ENTITY, describe(entity), {"views": views})


def _sources(catalog: Catalog) -> Iterator[Definition]:
    for source in catalog.sources.values():
        said = describe(source)
        views = [view.name for view in catalog.views_of(source.name)]
        yield _definition(DefinitionKind.SOURCE, said, {"type": said["kind"], "views": views})


def _views(catalog: Catalog) -> Iterator[Definition]:
    for view in catalog.views.values():
        features = [spec.name for spec in catalog.resolve([view.name])]
        yield _definition(DefinitionKind.VIEW, describe(view), {"features": features})


def _features(catalog: Catalog) -> Iterator[Definition]:
    for spec in catalog.features.values():
        view = catalog.views[spec.view]
        item = _item(view, spec.name)
        said = item | {"name": spec.name, "owner": view.owner, "tags": list(view.tags)}
        made = {"type": item["kind"], item["kind"]: item["name"]}
        yield _definition(DefinitionKind.FEATURE, said, {**made, **_read_as(catalog, spec)})


def _services(catalog: Catalog) -> Iterator[Definition]:
    for service in catalog.services.values():
        features = [f"{spec.view}:{spec.name}" for spec in catalog.resolve([service.name])]
        yield _definition(DefinitionKind.SERVICE, describe(service), {"features": features})


_FINDERS = {
    DefinitionKind.ENTITY: _entities,
    DefinitionKind.SOURCE: _sources,
    DefinitionKind.VIEW: _views,
    DefinitionKind.FEATURE: _features,
    DefinitionKind.SERVICE: _services,
}


def _item(view: FeatureView, name: str) -> dict[str, Any]:
    """Return the field or function that gives a feature, as plain values."""
    found: dict[str, Any] = next(item for item in describe(view)["features"] if name in names_of(item))
    return found


def _read_as(catalog: Catalog, spec: FeatureSpec) -> dict[str, Any]:
    services = sorted(name for name in catalog.services if spec in catalog.resolve([name]))
    view = describe(catalog.views[spec.view])
    return {"view": spec.view, "services": services, **{key: view[key] for key in ("entity", "source", "online", "ttl")}}


def _definition(kind: DefinitionKind, said: Mapping[str, Any], more: Mapping[str, Any]) -> Definition:
    """Return a definition from its description; what `more` says is said first, and instead."""
    facts = dict(more) | {key: value for key, value in said.items() if key not in {*_COMMON, "kind", *more}}
    return Definition(kind, said["name"], said["description"], said.get("owner", ""), tuple(said.get("tags", ())), facts)
