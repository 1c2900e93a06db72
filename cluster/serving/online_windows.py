"""Windows in online reads: an entity's cells, added up to what each aggregation is worth now (cluster/windows)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.errors import Refused, RetryLater
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import FeatureSpec
from cluster.windows.panes import Pane, pane_of
from cluster.windows.partials import Layout, Partials
from cluster.windows.ports import CellsRead
from cluster.windows.window import MAX_DISTINCT, Window


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Aggregations that are read together, and the panes that have their cells."""

    specs: tuple[FeatureSpec, ...]
    panes: tuple[Pane, ...]

    @classmethod
    def of(cls, specs: Sequence[FeatureSpec], panes: Sequence[Pane]) -> WindowSet:
        """Return the set of the aggregations among `specs`; `panes` are all of the definitions."""
        windows = tuple(spec for spec in specs if spec.aggregation)
        needed = {pane_of(spec.aggregation, panes): None for spec in windows if spec.aggregation}
        return cls(windows, tuple(needed))

    @property
    def most_cells(self) -> int:
        """Return how many cells a read of one entity may look at."""
        return sum(pane.most_cells for pane in self.panes)

    def values(self, read: CellsRead, now_us: int) -> NDArray[np.float64]:
        """Return what the cells are worth at a time, `[aggregation, entity]`, NaN for null.

        Raise RetryLater while cells are missing, Refused when a window has more different values than can be counted.
        """
        if read.missing:
            late = next(spec.name for spec in self.specs if self._pane(spec) in read.missing)
            raise RetryLater(f"feature '{late}': its windows are being computed from history; see `raytide status`")
        found = {pane: _Cells.of(pane, cells) for pane, cells in zip(self.panes, read.cells, strict=True)}
        windows = {(self._pane(spec), _aggregation(spec).span) for spec in self.specs}
        added = {(pane, window): found[pane].within(window, now_us) for pane, window in windows}  # once for all its functions
        rows = [_value(spec, added[self._pane(spec), _aggregation(spec).span]) for spec in self.specs]
        return np.array(rows, np.float64).reshape(len(rows), -1)

    def _pane(self, spec: FeatureSpec) -> Pane:
        return pane_of(_aggregation(spec), self.panes)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of a pane for some entities: number and entity of each."""

    partials: Partials
    number: NDArray[np.int64]
    entity: NDArray[np.int64]
    entities: int

    @classmethod
    def of(cls, pane: Pane, cells: Sequence[tuple[Sequence[int], Sequence[bytes]]]) -> _Cells:
        number = np.array([n for numbers, _ in cells for n in numbers], np.int64)
        entity = np.repeat(np.arange(len(cells)), [len(numbers) for numbers, _ in cells])
        packed = [cell for _, found in cells for cell in found]
        return cls(Partials.unpack(Layout.of(pane.functions), packed), number, entity, len(cells))

    def within(self, window: Window, now_us: int) -> Partials:
        """Return what a window holds now, for each entity."""
        # Cells of later times are there when the writer's clock is ahead of this one.
        inside = (self.number * window.hop_us >= window.edge(now_us)) & (self.number * window.hop_us < now_us)
        if inside.all():
            return self.partials.combined(self.entity, self.entities)
        return self.partials.taken(inside).combined(self.entity[inside], self.entities)


def _value(spec: FeatureSpec, cells: Partials) -> NDArray[np.float64]:
    """Return an aggregation's value for each entity."""
    function = Function(_aggregation(spec).function)
    found = cells.values(function)
    if function is Function.COUNT_DISTINCT and (found > MAX_DISTINCT).any():
        raise Refused(
            f"feature '{spec.name}': a window has more than {MAX_DISTINCT:,} different values, up to which it is counted "
            "exactly: take a shorter window, or leave this feature out",
        )
    return found


def _aggregation(spec: FeatureSpec) -> Aggregation:
    if spec.aggregation is None:
        raise TypeError(f"{spec.name} is no aggregation")
    return spec.aggregation
