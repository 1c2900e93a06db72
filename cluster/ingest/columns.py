"""A column in the three forms that feature functions take, made when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


class Column:
    """An input of functions: an Arrow array of float64, int64, bool, string or timestamp[us, tz=UTC].

    No function can change what another one sees: arrays are read-only, and a Series copies itself on write because
    this class keeps the original.
    """

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    @classmethod
    def of(cls, array: pa.Array, *, optional: bool = False) -> Column:
        """Return a source's column. An optional number or bool becomes a double, whether or not this batch has nulls."""
        if pa.types.is_timestamp(array.type):
            return cls(array.cast(pa.timestamp("us", tz="UTC")))
        return cls(to_double(array)) if optional and not pa.types.is_string(array.type) else cls(array)

    @classmethod
    def of_doubles(cls, values: Doubles) -> Column:
        """Return a feature's column; NaN becomes null."""
        return cls(pa.array(values, from_pandas=True))

    def __len__(self) -> int:
        return len(self.array)

    def slice(self, first: int, length: int) -> Column:
        """Return a part, without a copy."""
        return Column(self.array.slice(first, length))

    def filter(self, keep: pa.Array) -> Column:
        """Return the rows where `keep` is true."""
        return Column(self.array.filter(keep))

    @cached_property
    def scalars(self) -> Sequence[Any]:
        """Python values; None for null, aware datetimes for times."""
        if pa.types.is_timestamp(self.array.type):
            # Arrow's own conversion makes a time zone for each value, at four times the price.
            naive = self.array.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()
            return [time.replace(tzinfo=UTC) if isinstance(time, datetime) else None for time in naive]
        return self.array.to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def ndarray(self) -> NDArray[Any]:
        """A read-only array; a null is NaN, NaT, or in text None."""
        values: NDArray[Any] = self.array.to_numpy(zero_copy_only=False)
        values.flags.writeable = False
        return values

    @cached_property
    def _series(self) -> pd.Series[Any]:
        series: pd.Series[Any] = self.array.to_pandas()
        return series

    @property
    def series(self) -> pd.Series[Any]:
        """A Series with index 0..n-1 for one function alone; a null is NaN or NaT."""
        return self._series.copy(deep=False)


def to_double(array: pa.Array) -> pa.Array:
    """Return a number or bool column as float64, nulls kept; integers beyond 2**53 are rounded."""
    return pc.cast(array, pa.float64(), safe=False)
