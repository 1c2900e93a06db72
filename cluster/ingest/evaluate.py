"""One feature function over the events of a batch: a double for each event and output, or the reason why not.

A function is the user's code, so anything may come back or be raised. When a call for many events fails, halving finds
the events at fault and the others get their value; so one bad event never costs a neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.ingest.columns import Column, Doubles
from cluster.ingest.results import Output, Unfit, describe, from_columns, from_scalars, short
from cluster.registry.definitions import FeatureFunction, Mode


@dataclass(frozen=True, slots=True)
class Evaluated:
    """For each output a double for each event, NaN for null and at a fault; a detail for each event at fault, by index."""

    outputs: Sequence[Doubles]
    faults: Mapping[int, str]

    def __add__(self, other: Evaluated) -> Evaluated:
        count = len(self.outputs[0])
        joined = [np.concatenate(pair) for pair in zip(self.outputs, other.outputs, strict=True)]
        return Evaluated(joined, {**self.faults, **{count + index: detail for index, detail in other.faults.items()}})


def evaluate(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    """Call `function` for all events of `inputs` (equal length, one event or more). Never raises for what it does."""
    with np.errstate(all="ignore"):  # the result is checked, so warnings about it would only fill the log
        found = _by_row(function, inputs) if function.mode == Mode.ROW else _by_batch(function, inputs)
    details = dict(found.faults)
    for name, doubles in zip(function.names, found.outputs, strict=True):
        for index in np.flatnonzero(np.isinf(doubles)).tolist():
            doubles[index] = np.nan
            details.setdefault(index, _of_output(function, name, "infinite value"))
    return Evaluated(found.outputs, {index: short(f"{function.name}: {details[index]}") for index in sorted(details)})


def _by_row(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    results: list[object] = []
    faults: dict[int, str] = {}
    call = function.function
    for index, arguments in enumerate(zip(*(column.scalars for column in inputs), strict=True)):
        try:
            results.append(call(*arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code; `try` is free on 3.11
            results.append(None)
            faults[index] = describe(error)
    if not function.outputs:
        return _merged(function, [from_scalars(results)], faults)
    return _spread(function, results, faults)


def _spread(function: FeatureFunction, results: list[object], faults: dict[int, str]) -> Evaluated:
    """Return the doubles of a row function's tuples; what is not such a tuple is a fault of its event."""
    nothing = (None,) * len(function.outputs)
    tuples: list[tuple[object, ...]] = []
    for index, result in enumerate(results):
        try:
            tuples.append(nothing if index in faults else _parts(function, result))
        except Unfit as error:
            tuples.append(nothing)
            faults[index] = str(error)
    return _merged(function, [from_scalars(values) for values in zip(*tuples, strict=True)], faults)


def _merged(function: FeatureFunction, parts: Sequence[Output], faults: Mapping[int, str]) -> Evaluated:
    """Return the results of all outputs as one; of several faults of an event the first output's counts."""
    found = dict(faults)
    for name, part in zip(function.names, parts, strict=True):
        for index, detail in part.faults.items():
            found.setdefault(index, _of_output(function, name, detail))
    return Evaluated([part.doubles for part in parts], found)


def _parts(function: FeatureFunction, result: object) -> tuple[object, ...]:
    wanted = f"a tuple of {len(function.outputs)}, for {', '.join(function.outputs)}"
    if not isinstance(result, tuple):
        raise Unfit(f"returned {type(result).__name__}, not {wanted}")
    if len(result) != len(function.outputs):
        raise Unfit(f"returned a tuple of {len(result)}, not {wanted}")
    return result


def _of_output(function: FeatureFunction, name: str, detail: str) -> str:
    return f"{name}: {detail}" if function.outputs else detail


def _by_batch(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    try:
        return _call(function, inputs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        detail = describe(error)
    count = len(inputs[0])
    if count == 1:
        return _all_at_fault(function, 1, detail)
    half = count // 2
    left = _by_batch(function, [column.slice(0, half) for column in inputs])
    right = _by_batch(function, [column.slice(half, count - half) for column in inputs])
    if not left.faults and not right.faults:
        return _all_at_fault(function, count, f"fails for {count} events together but for none of them alone: {detail}")
    return left + right


def _all_at_fault(function: FeatureFunction, count: int, detail: str) -> Evaluated:
    return Evaluated([np.full(count, np.nan) for _ in function.names], dict.fromkeys(range(count), detail))


def _call(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    take, count = from_columns[function.mode], len(inputs[0])
    if function.mode == Mode.PANDAS:
        result: object = function.function(*(column.series for column in inputs))
    else:
        result = function.function(*(column.ndarray for column in inputs))
    if not function.outputs:
        return _merged(function, [take(result, count)], {})
    parts = []
    for name, part in zip(function.outputs, _parts(function, result), strict=True):
        try:
            parts.append(take(part, count))
        except Unfit as error:
            raise Unfit(f"{name}: {error}") from None
    return _merged(function, parts, {})
