"""Which changes would lose or mix up data that is there or on its way: those are refused, each with the way out.

Records that wait in Kafka or in a file were written for the old definitions and are read by the new ones. A new optional
field, a field that is dropped and an integer that becomes a double are harmless to them; other changes of shape are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.errors import Misconfigured
from cluster.registry.plan import Description, features_of

_WIDER = {("int64", "float64")}
#: What says how a record is read, with what to do instead of changing it.
_SHAPE = ("kind", "join_key", "entity_id", "feature_name", "value", "event_timestamp", "created_at", "timestamp_unit")
_ANOTHER_SOURCE = (
    "records that are on their way could not be read: declare another source, and move its views when the old one is drained"
)


def check_compatible(old: Description, new: Description) -> None:
    """Raise Misconfigured with every change that is refused; see the module's text for the rule."""
    if problems := list(incompatible(old, new)):
        raise Misconfigured("these definitions cannot follow those in force:\n  " + "\n  ".join(problems))


def incompatible(old: Description, new: Description) -> Iterator[str]:
    """Return a sentence for each change that is refused."""
    for name in sorted(old["sources"].keys() & new["sources"].keys()):
        yield from (f"source '{name}': {problem}" for problem in _source(old["sources"][name], new["sources"][name]))
    yield from _moved_features(old, new)


def _source(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in ("kind", "topic"):
        if old.get(key) != new.get(key):
            yield f"{key} is {old.get(key)} and would be {new.get(key)}; {_ANOTHER_SOURCE}"
    if new.get("partitions", old.get("partitions", 0)) < old.get("partitions", 0):
        yield f"partitions are {old['partitions']} and would be {new['partitions']}; Kafka cannot take partitions away"
    yield from _records(old["records"], new["records"])


def _records(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in _SHAPE:
        if old.get(key) != new.get(key):
            yield f"{key} is {old.get(key)} and would be {new.get(key)}; {_ANOTHER_SOURCE}"
    before = {field["name"]: field for field in old.get("fields", ())}
    after = {field["name"]: field for field in new.get("fields", ())}
    for name, field in after.items():
        yield from (f"field '{name}' {problem}" for problem in _field(before.get(name), field))
    if new.get("strict") and (gone := [name for name in before if name not in after]):
        yield f"it is strict and drops {', '.join(gone)}, which records on their way still have; apply it without strict first"


def _field(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Iterator[str]:
    needed = _is_required(new)
    if old is None:
        if needed:
            yield "is new and required, and records on their way do not have it; give it a default, or make it optional"
        return
    if needed and not _is_required(old):
        yield "may be left out and would be required; give it a default, or leave it optional"
    if (old["dtype"], new["dtype"]) not in {*_WIDER, (new["dtype"], new["dtype"])}:
        yield f"is {old['dtype']} and would be {new['dtype']}; only int64 to float64 is safe: use a new field beside it"


def _is_required(field: Mapping[str, Any]) -> bool:
    return not field["optional"] and field.get("default") is None


def _moved_features(old: Description, new: Description) -> Iterator[str]:
    """Return the features that would describe another entity: their history has the ids of the first."""
    before, after = _entities(old), _entities(new)
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield (
                f"feature '{name}' describes entity '{before[name]}' and would describe '{after[name]}'; its history has the "
                f"ids of '{before[name]}': give the feature another name"
            )


def _entities(description: Description) -> dict[str, str]:
    views = description["views"]
    references = (reference.partition(":") for reference in features_of(description))
    return {name: views[view]["entity"] for view, _, name in references}
