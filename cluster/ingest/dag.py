"""Feature functions in an order in which each finds its inputs: the graph that parameter names spell out.

Found wrong here means found when the definitions load, long before the first event.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from cluster.errors import Misconfigured
from cluster.registry.definitions import FeatureFunction
from cluster.registry.names import near_matches
from cluster.registry.places import at

_PLAIN = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def order(functions: Sequence[FeatureFunction], columns: Iterable[str]) -> tuple[FeatureFunction, ...]:
    """Return `functions` so that each comes after those whose results it takes.

    An input is one of `columns` or a feature that another function computes. The order depends on nothing but the arguments.
    Raise Misconfigured, naming the feature, for a cycle, an unknown input, a name that is taken, and a function that
    cannot be called with its inputs alone.
    """
    known = set(columns)
    makers: dict[str, FeatureFunction] = {}
    for function in functions:
        for name in function.names:
            with at(function):
                _check_name(name, known, makers)
            makers[name] = function
    for function in functions:
        check(function, known | makers.keys())
    try:
        return _sorted(makers)
    except CycleError as error:
        path = error.args[1]
        with at(makers[path[0]]):
            raise Misconfigured(f"features need each other in a circle: {' -> '.join(path)}; break it at one of them") from None


def check(function: FeatureFunction, known: Iterable[str]) -> None:
    """Raise Misconfigured unless `function` can be called with inputs that are `known`, and with nothing else."""
    with at(function):
        _check_callable(function)
        _check_inputs(function, known)


def _sorted(makers: Mapping[str, FeatureFunction]) -> tuple[FeatureFunction, ...]:
    """Return each function once; `makers` says which one computes a feature."""
    # By the first feature: that name is unique, and says in an error what the author has to look for.
    graph = {f.names[0]: [makers[name].names[0] for name in f.inputs if name in makers] for f in makers.values()}
    return tuple(makers[name] for name in TopologicalSorter(graph).static_order())


def _check_name(name: str, columns: Iterable[str], features: Iterable[str]) -> None:
    if name in columns:
        raise Misconfigured(f"feature '{name}' has the name of a column of its source: give the function another name")
    if name in features:
        raise Misconfigured(f"feature '{name}' is defined twice: rename one")


def _check_callable(function: FeatureFunction) -> None:
    code = inspect.unwrap(function.function)
    if inspect.iscoroutinefunction(code) or inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise Misconfigured(
            f"feature '{function.name}' must be an ordinary function that returns its result, not async or yield"
        )
    for parameter in inspect.signature(function.function).parameters.values():
        if parameter.kind not in _PLAIN or parameter.default is not parameter.empty:
            raise Misconfigured(
                f"feature '{function.name}': parameter '{parameter}' is not a plain name; each parameter names one column or "
                "feature, so leave out *, ** and defaults",
            )
    if not function.inputs:
        raise Misconfigured(f"feature '{function.name}' takes no inputs: name at least one column as its parameter")


def _check_inputs(function: FeatureFunction, known: Iterable[str]) -> None:
    for name in function.inputs:
        if name not in known:
            raise Misconfigured(
                f"feature '{function.name}' takes '{name}', which is neither a column of its source nor a feature of its view"
                f"{near_matches(name, (k for k in known if k not in function.names))}",
            )
