"""What aggregations must hold, next to cluster/registry/checks.py."""

from __future__ import annotations

from collections.abc import Collection

from cluster.errors import Misconfigured
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.definitions import FeatureView, Long
from cluster.registry.names import near_matches
from cluster.registry.places import at, within


def check_aggregations(where: str, view: FeatureView) -> None:
    """Check the aggregations of a view against its other features; raise Misconfigured, naming the one at fault."""
    windows = [item for item in view.features if isinstance(item, Aggregation)]
    for item in windows:
        with at(item), within(f"{where}, aggregation '{item.name}'"):
            _check_function(item)
            _ = item.span
            for part, name in (("input", item.input), ("filter", item.filter)):
                if name is not None:
                    _check_taken(part, name, view, windows)
            if item.filter and isinstance(view.source.records, Long):
                raise Misconfigured(
                    "a record of a Long source is one feature, so no other can be its filter: use a Wide source"
                )


def _check_function(item: Aggregation) -> None:
    if item.function not in tuple(Function):
        raise Misconfigured(f"function is {item.function!r}: functions are {', '.join(Function)}")


def _check_taken(part: str, name: str, view: FeatureView, windows: Collection[Aggregation]) -> None:
    if not isinstance(name, str):
        raise Misconfigured(f"{part} is {name!r}: give the name of a feature of the view, as text")
    if any(name == item.name for item in windows):
        raise Misconfigured(f"{part} '{name}' is an aggregation itself: take a feature that history has")
    if any(name in function.names for function in view.read_functions):
        raise Misconfigured(f"{part} '{name}' is computed from an aggregation when it is read: take a feature that history has")
    if name not in view.stored:
        raise Misconfigured(
            f"{part} '{name}' is no feature of the view, and only what a view lists is in history"
            f"{near_matches(name, view.stored)}; list it before the aggregation",
        )
