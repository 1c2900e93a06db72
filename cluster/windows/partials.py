"""Partial results of cells: how they are written down, added up, and made into values.

A cell is a row of 8-byte numbers, integers and doubles side by side, and where values are told apart a tail with each of
them once. Partial results combine in any division, so adding an event to a cell and adding cells up to a window are the
same step. Means and variances combine as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances" (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.registry.aggregation import Function
from cluster.windows.window import MAX_DISTINCT

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: What orders an entity's events, ties included: the same four everywhere (docs/historical.md).
_ORDER = ("moment", "created", "position", "source")
_EDGES = {
    Function.FIRST: tuple(f"first_{c}" for c in (*_ORDER, "value")),
    Function.LAST: tuple(f"last_{c}" for c in (*_ORDER, "value")),
}
#: The numbers that a function needs beside the count.
_NEEDS: dict[Function, tuple[str, ...]] = {
    Function.COUNT: (),
    Function.SUM: ("sum",),
    Function.MEAN: ("mean",),
    Function.MIN: ("min",),
    Function.MAX: ("max",),
    Function.STD: ("mean", "m2"),
    **_EDGES,
    Function.COUNT_DISTINCT: (),
}
_WIDTH = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Which numbers a cell has, in which order; the count is the first."""

    columns: tuple[str, ...]
    is_distinct: bool

    @classmethod
    def of(cls, functions: Sequence[Function]) -> Layout:
        """Return the layout for cells from which all `functions` can be computed."""
        columns = dict.fromkeys(["n", *(column for function in functions for column in _NEEDS[function])])
        return cls(tuple(columns), Function.COUNT_DISTINCT in functions)

    @property
    def width(self) -> int:
        """Return the bytes of a cell without its tail."""
        return len(self.columns) * _WIDTH


class Partials:
    """Cells of one layout, one in each row of `numbers`; `tails` are their different values, sorted.

    What is a double is seen through `floats`, which shares its memory.
    """

    def __init__(self, layout: Layout, numbers: Ints, tails: Sequence[Floats] = ()) -> None:
        self.layout, self.numbers, self.tails = layout, numbers, tails
        self._at = {column: number for number, column in enumerate(layout.columns)}

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.numbers)

    def ints(self, column: str) -> Ints:
        """Return a column of integers."""
        return self.numbers[:, self._at[column]]

    def floats(self, column: str) -> Floats:
        """Return a column of doubles."""
        found: Floats = self.numbers.view(np.float64)[:, self._at[column]]
        return found

    @classmethod
    def from_table(cls, layout: Layout, table: pa.Table) -> Partials:
        """Return the cells of a table with a column for each number, and `seen` where values are told apart."""
        numbers = np.empty((len(table), len(layout.columns)), np.int64)
        for number, column in enumerate(layout.columns):
            values = table[column].to_numpy()
            numbers[:, number] = values if values.dtype.kind == "i" else np.asarray(values, np.float64).view(np.int64)
        tails = [np.sort(np.asarray(values, np.float64)) for values in table["seen"].to_pylist()] if layout.is_distinct else []
        return cls(layout, numbers, tails)

    @classmethod
    def unpack(cls, layout: Layout, cells: Sequence[bytes]) -> Partials:
        """Return the cells that `pack` wrote."""
        if not layout.is_distinct:
            numbers = np.frombuffer(b"".join(cells), np.int64).reshape(len(cells), len(layout.columns))
            return cls(layout, numbers)
        heads = b"".join([cell[: layout.width] for cell in cells])
        numbers = np.frombuffer(heads, np.int64).reshape(len(cells), len(layout.columns))
        return cls(layout, numbers, [np.frombuffer(cell, np.float64, offset=layout.width) for cell in cells])

    def pack(self) -> list[bytes]:
        """Return each cell as bytes."""
        whole, width = np.ascontiguousarray(self.numbers).tobytes(), self.layout.width
        heads = [whole[start : start + width] for start in range(0, len(whole), width)]
        if not self.layout.is_distinct:
            return heads
        return [head + tail.tobytes() for head, tail in zip(heads, self.tails, strict=True)]

    def taken(self, rows: Any) -> Partials:
        """Return some of the cells, by index or mask."""
        tails = [self.tails[row] for row in np.arange(len(self))[rows]] if self.layout.is_distinct else []
        return Partials(self.layout, self.numbers[rows], tails)

    def joined(self, other: Partials) -> Partials:
        """Return these cells and then the other ones."""
        return Partials(self.layout, np.concatenate([self.numbers, other.numbers]), [*self.tails, *other.tails])

    def combined(self, group: Ints, count: int) -> Partials:
        """Add up the cells of each group 0 .. `count` - 1; `group` names that of each cell. A group without cells is empty."""
        filled = self.ints("n") > 0
        if not filled.all():  # an empty cell has no first event that could be compared
            return self.taken(filled).combined(group[filled], count)
        added = Partials(self.layout, np.zeros((count, len(self.layout.columns)), np.int64))
        for column in self.layout.columns:
            if column in _SIMPLE:
                _SIMPLE[column](self, group, added)
        if "mean" in self._at:
            self._add_means(group, added)
        for function, columns in _EDGES.items():
            if columns[0] in self._at:
                self._add_edge(function, group, added)
        if self.layout.is_distinct:
            added.tails = self._added_tails(group, count)
        return added

    def _add_means(self, group: Ints, added: Partials) -> None:
        n, total = self.ints("n").astype(np.float64), added.ints("n").astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):  # a group without cells, and values beyond all bounds
            mean = np.bincount(group, n * self.floats("mean"), len(added)) / total
            added.floats("mean")[:] = np.where(total > 0, mean, 0)
            if "m2" in self._at:
                apart = n * (self.floats("mean") - added.floats("mean")[group]) ** 2
                added.floats("m2")[:] = np.bincount(group, self.floats("m2") + apart, len(added))

    def _add_edge(self, function: Function, group: Ints, added: Partials) -> None:
        columns = _EDGES[function]
        keys = [self.ints(column) for column in columns[:-1]]
        order = np.lexsort((*keys[::-1], group))
        ends = np.append(group[order][1:] != group[order][:-1], True) if len(order) else np.empty(0, np.bool_)
        if function is Function.FIRST:
            ends = np.roll(ends, 1)
        chosen = order[ends]
        for column in columns:
            added.ints(column)[group[chosen]] = self.ints(column)[chosen]

    def _added_tails(self, group: Ints, count: int) -> list[Floats]:
        parts: list[list[Floats]] = [[] for _ in range(count)]
        for number, tail in zip(group.tolist(), self.tails, strict=True):
            parts[number].append(tail)
        # One more than can be answered says that it cannot, and no cell grows beyond that.
        return [np.unique(np.concatenate(part))[: MAX_DISTINCT + 1] if part else np.empty(0) for part in parts]

    def values(self, function: Function) -> Floats:
        """Return a function's value for each cell, NaN where it has none; of different values how many, also over the bound."""
        n = self.ints("n").astype(np.float64)
        if function is Function.COUNT:
            return n
        if function is Function.COUNT_DISTINCT:
            return np.array([len(tail) for tail in self.tails], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            if function is Function.STD:
                return np.where(n > 1, np.sqrt(self.floats("m2") / (n - 1)), np.nan)
            return np.where(n > 0, self.floats(_RESULT[function]), np.nan)


def _sum(column: str) -> Any:
    def add(cells: Partials, group: Ints, added: Partials) -> None:
        added.floats(column)[:] = np.bincount(group, cells.floats(column), len(added))

    return add


def _extreme(column: str, better: Any, worst: float) -> Any:
    def add(cells: Partials, group: Ints, added: Partials) -> None:
        added.floats(column)[:] = worst
        better.at(added.floats(column), group, cells.floats(column))

    return add


def _count(cells: Partials, group: Ints, added: Partials) -> None:
    np.add.at(added.ints("n"), group, cells.ints("n"))


_SIMPLE = {
    "n": _count,
    "sum": _sum("sum"),
    "min": _extreme("min", np.minimum, np.inf),
    "max": _extreme("max", np.maximum, -np.inf),
}
_RESULT = {
    Function.SUM: "sum",
    Function.MEAN: "mean",
    Function.MIN: "min",
    Function.MAX: "max",
    Function.FIRST: "first_value",
    Function.LAST: "last_value",
}
