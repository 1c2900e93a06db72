"""Which partial results are kept online: one kind for all windows over the same events that move in the same steps.

A pane holds the events of one (input, filter, hop), divided into cells: cell `k` has those with event times in
`(k * hop, (k + 1) * hop]`. Windows begin at multiples of their hop, open below and closed above, so whole cells make them up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import Catalog, FeatureSpec


@dataclass(frozen=True, slots=True)
class Pane:
    """Partial results of all `functions` for events of `input` that pass `filter`, for `length_us` back from now."""

    input: str
    filter: str | None
    hop_us: int
    length_us: int
    functions: tuple[Function, ...]

    @property
    def name(self) -> str:
        """Return what names it in Redis: another one whenever its cells would hold something else."""
        told = f"{self.input}|{self.filter or ''}|{self.hop_us}|{self.length_us}|{','.join(self.functions)}"
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the features whose rows it is made of."""
        return (self.input, self.filter) if self.filter else (self.input,)

    @property
    def most_cells(self) -> int:
        """Return how many cells of an entity a reader can ask for."""
        return self.length_us // self.hop_us + 1

    def oldest(self, now_us: int) -> int:
        """Return the first cell that a window of now, or of a moment later, can hold."""
        return (now_us - self.length_us) // self.hop_us

    def cell(self, event_us: int) -> int:
        """Return the cell of an event."""
        return (event_us - 1) // self.hop_us


def panes_of(catalog: Catalog) -> list[Pane]:
    """Return the panes of all aggregations that can be read online, in a fixed order."""
    return grouped(spec for spec in catalog.features.values() if spec.online)


def grouped(specs: Iterable[FeatureSpec]) -> list[Pane]:
    """Return the panes that the aggregations among `specs` need, sorted."""
    groups: dict[tuple[str, str, int], list[Aggregation]] = {}
    for spec in specs:
        if spec.aggregation:
            groups.setdefault(_key(spec.aggregation), []).append(spec.aggregation)
    return [_pane(*key, groups[key]) for key in sorted(groups)]


def inputs_of(panes: Iterable[Pane]) -> list[str]:
    """Return the features whose rows any of the panes is made of, sorted."""
    return sorted({name for pane in panes for name in pane.inputs})


def pane_of(aggregation: Aggregation, panes: Iterable[Pane]) -> Pane:
    """Return the one of `panes` that holds an aggregation's cells."""
    return next(pane for pane in panes if (pane.input, pane.filter or "", pane.hop_us) == _key(aggregation))


def _key(aggregation: Aggregation) -> tuple[str, str, int]:
    return aggregation.input, aggregation.filter or "", aggregation.span.hop_us


def _pane(name: str, filter_: str, hop_us: int, aggregations: list[Aggregation]) -> Pane:
    functions = {Function(a.function) for a in aggregations}
    longest = max(a.span.length_us for a in aggregations)
    return Pane(name, filter_ or None, hop_us, longest, tuple(f for f in Function if f in functions))
