"""Definitions as plain values: what the registry's table stores, and what two versions are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from cluster.registry.definitions import FeatureFunction, FeatureView, FileSource, StreamSource

_KINDS = {StreamSource: "stream", FileSource: "file", FeatureFunction: "function"}
_LEFT_OUT = {FeatureFunction: {"function"}, FeatureView: {"entity", "source"}}


def describe(value: Any) -> Any:
    """Return `value` in terms of dict, list, str, int, float, bool and None, equal for equal definitions.

    A dataclass becomes its fields and, as `kind`, its class; functions become the hash of their text; a view names its
    entity and source; durations are seconds.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, FeatureView):
        return _fields(value) | {"entity": value.entity.name, "source": value.source.name}
    if isinstance(value, Mapping):
        return {name: describe(value[name]) for name in sorted(value)}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return _fields(value) if is_dataclass(value) else value


def _fields(value: Any) -> dict[str, Any]:
    kind = _KINDS.get(type(value), type(value).__name__.lower())
    left_out = _LEFT_OUT.get(type(value), set()) | {"place"}
    return {"kind": kind} | {f.name: describe(getattr(value, f.name)) for f in fields(value) if f.name not in left_out}
