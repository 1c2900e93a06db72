"""What applying definitions would change: two descriptions (`Catalog.describe`) side by side, and who depends on what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Description = Mapping[str, Any]

#: What is compared, in the order in which it is shown: (singular, where it lies in a description).
_KINDS = (("entity", "entities"), ("source", "sources"), ("view", "views"), ("service", "services"))
EMPTY: Description = {section: {} for _, section in _KINDS}


class Action(StrEnum):
    """What happens to a definition."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """One definition that is not as it was. `details` say how, `dependents` what else is affected, both in words."""

    action: Action
    kind: str  # entity, source, view, feature or service
    name: str  # of a feature view:feature
    details: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()


def compare(old: Description, new: Description) -> list[Change]:
    """Return the changes from `old` to `new`; a feature is compared by itself, not as a part of its view."""
    changes = [change for kind, section in _KINDS for change in _section(kind, old[section], new[section])]
    changes += _section("feature", features_of(old), features_of(new))
    return [_with_dependents(change, old if change.action is Action.REMOVED else new) for change in changes]


def features_of(description: Description) -> dict[str, Mapping[str, Any]]:
    """Return every feature of a description by its reference, `view:feature`."""
    return {
        f"{view}:{name}": f for view, body in description["views"].items() for f in body["features"] for name in names_of(f)
    }


def names_of(feature: Mapping[str, Any]) -> Sequence[str]:
    """Return the features that one entry of a view is."""
    return feature.get("outputs") or [feature["name"]]


def inputs_of(feature: Mapping[str, Any]) -> set[str]:
    """Return what one entry of a view is made from; of a function also columns."""
    return {*feature.get("inputs", ()), *filter(None, (feature.get("input"), feature.get("filter")))}


def _section(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    yield from (Change(Action.ADDED, kind, name) for name in sorted(new.keys() - old.keys()))
    for name in sorted(new.keys() & old.keys()):
        if details := tuple(_differences(_comparable(kind, old[name]), _comparable(kind, new[name]))):
            yield Change(Action.CHANGED, kind, name, details)
    yield from (Change(Action.REMOVED, kind, name) for name in sorted(old.keys() - new.keys()))


def _comparable(kind: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in body.items() if key != "features"} if kind == "view" else body


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Return the attributes that differ. One that only one side has is of another version of Raytide, which is no change."""
    for key in sorted(old.keys() & new.keys()):
        one, other, where = old[key], new[key], f"{within}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{where}.")
        elif _is_named(one) and _is_named(other):
            yield from _of_lists(one, other, where)
        elif key == "source_hash":
            if one != other:
                yield "its code, or something that it uses"
        elif one != other:
            yield f"{where}: {one} -> {other}"


def _of_lists(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], where: str) -> Iterator[str]:
    before, after = {item["name"]: item for item in old}, {item["name"]: item for item in new}
    yield from (f"{where}: {name} is new" for name in after if name not in before)
    yield from (f"{where}: {name} is gone" for name in before if name not in after)
    for name in before.keys() & after.keys():
        yield from _differences(before[name], after[name], f"{where}.{name}.")


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)


def _with_dependents(change: Change, description: Description) -> Change:
    found = tuple(_dependents(change.kind, change.name, description))
    return Change(change.action, change.kind, change.name, change.details, found)


def _dependents(kind: str, name: str, description: Description) -> Iterator[str]:
    """Return what would notice, as words such as `service fraud_v1`."""
    if kind in {"entity", "source"}:
        yield from (f"view {view}" for view, body in description["views"].items() if body[kind] == name)
    elif kind == "view":
        yield from (f"service {service}" for service in _services_with(description, {name}))
    elif kind == "feature":
        view, _, feature = name.partition(":")
        downstream = downstream_of(feature, description["views"][view]["features"])
        yield from (f"feature {view}:{other}" for other in downstream)
        names = {view, *(f"{view}:{f}" for f in [feature, *downstream]), feature, *downstream}
        yield from (f"service {service}" for service in _services_with(description, names))


def downstream_of(feature: str, features: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the features of a view that take `feature`, directly or through others, in the view's order."""
    found = {feature}
    while more := {name for f in features if found & inputs_of(f) for name in names_of(f)} - found:
        found |= more
    return [name for f in features for name in names_of(f) if name in found and name != feature]


def _services_with(description: Description, references: set[str]) -> list[str]:
    return [name for name, body in description["services"].items() if references & set(body["features"])]
