"""One feature function over the events of a batch: a double for each event and output, or the reason why not.

A function is the user's code, so anything may come back or be raised. When a call for many events fails, halving finds
the events at fault and the others get their value; so one bad event never costs a neighbour. When it takes too long, the
same is done in smaller parts with less time, for as long as the function's budget for the batch lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from cluster.ingest.budget import Budget
from cluster.ingest.columns import Column, Doubles
from cluster.ingest.explain import Why
from cluster.ingest.results import Output, Unfit, describe, from_columns, from_scalars, short
from cluster.ingest.watchdog import TooLate
from cluster.records import Reason
from cluster.registry.definitions import FeatureFunction, Mode

_PARTS = 16


@dataclass(frozen=True, slots=True)
class Evaluated:
    """For each output a double for each event, NaN for null and at a fault; why, for each event at fault, by index."""

    outputs: Sequence[Doubles]
    faults: Mapping[int, Why]

    def __add__(self, other: Evaluated) -> Evaluated:
        count = len(self.outputs[0])
        joined = [np.concatenate(pair) for pair in zip(self.outputs, other.outputs, strict=True)]
        return Evaluated(joined, {**self.faults, **{count + index: why for index, why in other.faults.items()}})


def evaluate(function: FeatureFunction, inputs: Sequence[Column], timeout_s: float) -> Evaluated:
    """Call `function` for all events of `inputs` (equal length, one event or more). Never raises for what it does."""
    budget = Budget(function.name, timeout_s)
    with np.errstate(all="ignore"):  # the result is checked, so warnings about it would only fill the log
        if function.mode == Mode.ROW:
            found = _by_row(function, inputs, budget)
        else:
            found = _by_batch(function, inputs, budget, timeout_s)
    faults = dict(found.faults)
    for name, doubles in zip(function.names, found.outputs, strict=True):
        for index in np.flatnonzero(np.isinf(doubles)).tolist():
            doubles[index] = np.nan
            faults.setdefault(index, (Reason.TRANSFORM_FAILED, _of_output(function, name, "infinite value")))
    named = {index: (faults[index][0], short(f"{function.name}: {faults[index][1]}")) for index in sorted(faults)}
    return Evaluated(found.outputs, named)


def _by_row(function: FeatureFunction, inputs: Sequence[Column], budget: Budget) -> Evaluated:
    rows = _Rows(function.function, [column.scalars for column in inputs])
    count = len(inputs[0])
    while len(rows.results) < count:
        if budget.left_s <= 0:
            rows.give_up(count, _used_up(budget))
        try:
            budget.run(rows.go_on, rows.results.__len__, budget.timeout_s)
        except TooLate as late:
            rows.stop(late.over, _too_long(budget))
    if not function.outputs:
        return _merged(function, [from_scalars(rows.results)], rows.faults)
    return _spread(function, rows)


class _Rows:
    """The calls of a row function. The number of `results` says how many are over, to us and to the watchdog."""

    def __init__(self, call: Callable[..., Any], columns: Sequence[Sequence[Any]]) -> None:
        self.results: list[object] = []
        self.faults: dict[int, Why] = {}
        self._call, self._columns = call, columns

    def go_on(self) -> None:
        """Call the function for the rest of the rows. May be ended between any two steps, and called again."""
        results, call = self.results, self._call
        rest = [column[len(results) :] for column in self._columns] if results else self._columns
        self.faults.pop(len(results), None)  # of a call that was ended while its error was described
        for arguments in zip(*rest, strict=True):
            try:
                results.append(call(*arguments))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code; `try` is free on 3.11
                self.faults[len(results)] = (Reason.TRANSFORM_FAILED, describe(error))
                results.append(None)

    def stop(self, index: int, why: Why) -> None:
        """Blame the row at `index`, unless it ended just in time."""
        if len(self.results) == index:
            self.faults[index] = why
            self.results.append(None)

    def give_up(self, count: int, why: Why) -> None:
        """Blame all rows that are left."""
        rest = range(len(self.results), count)
        self.faults.update(dict.fromkeys(rest, why))
        self.results.extend([None] * len(rest))


def _too_long(budget: Budget) -> Why:
    return Reason.TRANSFORM_TIMEOUT, f"not done in time, a call has {budget.timeout_s:g} s"


def _used_up(budget: Budget) -> Why:
    return Reason.TRANSFORM_TIMEOUT, f"not computed, the {budget.total_s:g} s for a batch are used up"


def _spread(function: FeatureFunction, rows: _Rows) -> Evaluated:
    """Return the doubles of a row function's tuples; what is not such a tuple is a fault of its event."""
    nothing = (None,) * len(function.outputs)
    tuples: list[tuple[object, ...]] = []
    for index, result in enumerate(rows.results):
        try:
            tuples.append(nothing if index in rows.faults else _parts(function, result))
        except Unfit as error:
            tuples.append(nothing)
            rows.faults[index] = (Reason.TRANSFORM_FAILED, str(error))
    return _merged(function, [from_scalars(values) for values in zip(*tuples, strict=True)], rows.faults)


def _merged(function: FeatureFunction, parts: Sequence[Output], faults: Mapping[int, Why]) -> Evaluated:
    """Return the results of all outputs as one; of several faults of an event the first output's counts."""
    found = dict(faults)
    for name, part in zip(function.names, parts, strict=True):
        for index, detail in part.faults.items():
            found.setdefault(index, (Reason.TRANSFORM_FAILED, _of_output(function, name, detail)))
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


def _by_batch(function: FeatureFunction, inputs: Sequence[Column], budget: Budget, limit_s: float) -> Evaluated:
    count = len(inputs[0])
    if budget.left_s <= 0:
        return _all_at_fault(function, count, _used_up(budget))
    try:
        return budget.run(lambda: _call(function, inputs), lambda: 0, limit_s)
    except TooLate:
        if count == 1:
            return _all_at_fault(function, 1, _too_long(budget))
        return _in_parts(function, inputs, budget, limit_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        detail = describe(error)
    if count == 1:
        return _all_at_fault(function, 1, (Reason.TRANSFORM_FAILED, detail))
    return _in_halves(function, inputs, budget, detail)


def _in_halves(function: FeatureFunction, inputs: Sequence[Column], budget: Budget, detail: str) -> Evaluated:
    """Find the events that a function fails for."""
    count = len(inputs[0])
    half = count // 2
    left = _by_batch(function, [column.slice(0, half) for column in inputs], budget, budget.timeout_s)
    right = _by_batch(function, [column.slice(half, count - half) for column in inputs], budget, budget.timeout_s)
    if not left.faults and not right.faults:
        together = f"fails for {count} events together but for none of them alone: {detail}"
        return _all_at_fault(function, count, (Reason.TRANSFORM_FAILED, together))
    return left + right


def _in_parts(function: FeatureFunction, inputs: Sequence[Column], budget: Budget, limit_s: float) -> Evaluated:
    """Find the events that a function takes too long for. Many parts, for each level costs a timeout."""
    count = len(inputs[0])
    shorter = budget.timeout_s / 4 if limit_s == budget.timeout_s else limit_s / 2
    length = -(-count // _PARTS)
    found = [
        _by_batch(function, [column.slice(first, length) for column in inputs], budget, shorter)
        for first in range(0, count, length)
    ]
    return reduce(add, found)


def _all_at_fault(function: FeatureFunction, count: int, why: Why) -> Evaluated:
    return Evaluated([np.full(count, np.nan) for _ in function.names], dict.fromkeys(range(count), why))


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
