"""What a feature function may give back, as doubles: a scalar of an event, or a Series or an array of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from cluster.ingest.columns import Doubles
from cluster.registry.definitions import Mode

_DETAIL_LENGTH = 200
_PLAIN = {float, int, bool, NoneType}


class Unfit(Exception):
    """A function gave back something that is not one number for each event."""


@dataclass(frozen=True, slots=True)
class Output:
    """A double for each event, NaN for null and at a fault; a detail for each event at fault, by index."""

    doubles: Doubles
    faults: Mapping[int, str]


def from_scalars(results: Sequence[object]) -> Output:
    """Return the double of each result."""
    if set(map(type, results)) <= _PLAIN:
        try:
            return Output(np.array(results, dtype=np.float64), {})
        except OverflowError:
            pass  # an integer beyond a double: found below
    values, faults = np.full(len(results), np.nan), {}
    for index, result in enumerate(results):
        try:
            values[index] = _double(result)
        except (TypeError, ValueError, OverflowError, Unfit) as error:
            faults[index] = describe(error)
    return Output(values, faults)


def _double(result: object) -> float:
    if result is None or result is pd.NA or result is pd.NaT:
        return np.nan
    if isinstance(result, Real | Decimal | np.bool_):
        return float(result)
    raise Unfit(f"returned {type(result).__name__}, not a number")


def _from_series(result: object, count: int) -> Output:
    if not isinstance(result, pd.Series):
        raise Unfit(f"returned {type(result).__name__}, not a pandas Series")
    _check_length(len(result), count)
    if not (isinstance(result.index, pd.RangeIndex) and result.index.start == 0 and result.index.step == 1):
        _check_index(result)
    dtype = result.dtype
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return Output(result.to_numpy(dtype=np.float64, na_value=np.nan, copy=True), {})
    return from_scalars(result.tolist())


def _check_index(result: pd.Series[Any]) -> None:
    if not result.index.equals(pd.RangeIndex(len(result))):
        raise Unfit("returned a Series with another index: keep the order of the events")


def _from_array(result: object, count: int) -> Output:
    if not isinstance(result, np.ndarray):
        raise Unfit(f"returned {type(result).__name__}, not a numpy array")
    if result.ndim != 1:
        raise Unfit(f"returned an array of {result.ndim} dimensions, not of one")
    _check_length(len(result), count)
    if isinstance(result, np.ma.MaskedArray) or result.dtype.kind not in "fiub":
        return from_scalars(result.tolist())
    # A copy, for the function may keep the array and write to it again.
    return Output(np.array(result, dtype=np.float64), {})


#: How the result of one call for `count` events is read.
from_columns: Mapping[Mode, Callable[[object, int], Output]] = {Mode.PANDAS: _from_series, Mode.NUMPY: _from_array}


def _check_length(length: int, count: int) -> None:
    if length != count:
        raise Unfit(f"returned {length} values for {count} events")


def describe(error: BaseException) -> str:
    """Return what an error of the user's code says."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - even the text of an error is the user's code
        message = "(its message cannot be read)"
    return message if isinstance(error, Unfit) else f"{type(error).__name__}: {message}"


def short(detail: str) -> str:
    """Return one line of printable UTF-8 that fits a message header."""
    line = " ".join(detail.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= _DETAIL_LENGTH else line[: _DETAIL_LENGTH - 1] + "…"
