"""One feature function over the events of a batch: a double for each event, or the reason why not.

A function is the user's code, so anything may come back or be raised. When a call for many events fails, halving finds
the events at fault and the others get their value; so one bad event never costs a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from cluster.ingest.columns import Column, Doubles
from cluster.registry.definitions import FeatureFunction, Mode

_DETAIL_LENGTH = 200
_PLAIN = {float, int, bool, NoneType}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A double for each event, NaN for null and at a fault; a detail for each event at fault, by index."""

    doubles: Doubles
    faults: Mapping[int, str]

    def __add__(self, other: Evaluated) -> Evaluated:
        shifted = {len(self.doubles) + index: detail for index, detail in other.faults.items()}
        return Evaluated(np.concatenate([self.doubles, other.doubles]), {**self.faults, **shifted})


class _Unfit(Exception):
    """A function gave back something that is not one number for each event."""


def evaluate(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    """Call `function` for all events of `inputs` (equal length, one event or more). Never raises for what it does."""
    with np.errstate(all="ignore"):  # the result is checked, so warnings about it would only fill the log
        found = _by_row(function, inputs) if function.mode == Mode.ROW else _by_batch(function, inputs)
    infinite = np.flatnonzero(np.isinf(found.doubles)).tolist()
    if infinite:
        found.doubles[infinite] = np.nan
    details = {**found.faults, **dict.fromkeys(infinite, "infinite value")}
    return Evaluated(found.doubles, {index: _short(f"{function.name}: {details[index]}") for index in sorted(details)})


def _by_row(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    results: list[object] = []
    faults: dict[int, str] = {}
    call = function.function
    for index, arguments in enumerate(zip(*(column.scalars for column in inputs), strict=True)):
        try:
            results.append(call(*arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code; `try` is free on 3.11
            results.append(None)
            faults[index] = _describe(error)
    converted = _doubles(results)
    return Evaluated(converted.doubles, {**converted.faults, **faults})


def _by_batch(function: FeatureFunction, inputs: Sequence[Column]) -> Evaluated:
    try:
        return _CALLS[function.mode](function.function, inputs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        detail = _describe(error)
    count = len(inputs[0])
    if count == 1:
        return _all_at_fault(1, detail)
    half = count // 2
    left = _by_batch(function, [column.slice(0, half) for column in inputs])
    right = _by_batch(function, [column.slice(half, count - half) for column in inputs])
    if not left.faults and not right.faults:
        return _all_at_fault(count, f"fails for {count} events together but for none of them alone: {detail}")
    return left + right


def _all_at_fault(count: int, detail: str) -> Evaluated:
    return Evaluated(np.full(count, np.nan), dict.fromkeys(range(count), detail))


def _call_pandas(function: Callable[..., object], inputs: Sequence[Column]) -> Evaluated:
    result = function(*(column.series for column in inputs))
    if not isinstance(result, pd.Series):
        raise _Unfit(f"returned {type(result).__name__}, not a pandas Series")
    _check_length(len(result), inputs)
    if not (isinstance(result.index, pd.RangeIndex) and result.index.start == 0 and result.index.step == 1):
        _check_index(result)
    dtype = result.dtype
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return Evaluated(result.to_numpy(dtype=np.float64, na_value=np.nan, copy=True), {})
    return _doubles(result.tolist())


def _check_index(result: pd.Series[Any]) -> None:
    if not result.index.equals(pd.RangeIndex(len(result))):
        raise _Unfit("returned a Series with another index: keep the order of the events")


def _call_numpy(function: Callable[..., object], inputs: Sequence[Column]) -> Evaluated:
    result = function(*(column.ndarray for column in inputs))
    if not isinstance(result, np.ndarray):
        raise _Unfit(f"returned {type(result).__name__}, not a numpy array")
    if result.ndim != 1:
        raise _Unfit(f"returned an array of {result.ndim} dimensions, not of one")
    _check_length(len(result), inputs)
    if isinstance(result, np.ma.MaskedArray) or result.dtype.kind not in "fiub":
        return _doubles(result.tolist())
    # A copy, for the function may keep the array and write to it again.
    return Evaluated(np.array(result, dtype=np.float64), {})


_CALLS = {Mode.PANDAS: _call_pandas, Mode.NUMPY: _call_numpy}


def _check_length(length: int, inputs: Sequence[Column]) -> None:
    if length != len(inputs[0]):
        raise _Unfit(f"returned {length} values for {len(inputs[0])} events")


def _doubles(results: Sequence[object]) -> Evaluated:
    if set(map(type, results)) <= _PLAIN:
        try:
            return Evaluated(np.array(results, dtype=np.float64), {})
        except OverflowError:
            pass  # an integer beyond a double: found below
    values, faults = np.full(len(results), np.nan), {}
    for index, result in enumerate(results):
        try:
            values[index] = _double(result)
        except (TypeError, ValueError, OverflowError, _Unfit) as error:
            faults[index] = _describe(error)
    return Evaluated(values, faults)


def _double(result: object) -> float:
    if result is None or result is pd.NA or result is pd.NaT:
        return np.nan
    if isinstance(result, Real | Decimal | np.bool_):
        return float(result)
    raise _Unfit(f"returned {type(result).__name__}, not a number")


def _describe(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - even the text of an error is the user's code
        message = "(its message cannot be read)"
    return message if isinstance(error, _Unfit) else f"{type(error).__name__}: {message}"


def _short(detail: str) -> str:
    """Return one line of printable UTF-8 that fits a message header."""
    line = " ".join(detail.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= _DETAIL_LENGTH else line[: _DETAIL_LENGTH - 1] + "…"
