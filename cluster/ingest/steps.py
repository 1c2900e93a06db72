"""What one view does with a batch: choose its events, then compute feature after feature, without the events at fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest.columns import Column
from cluster.ingest.evaluate import Evaluated, evaluate
from cluster.records import Reason
from cluster.registry.definitions import FeatureFunction


class Fault(NamedTuple):
    """An event at which a function failed: its index in the `Events`, and what happened."""

    event: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Some events of a batch, by index, with their columns."""

    indexes: NDArray[np.int64]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.indexes)

    def where(self, keep: NDArray[np.bool_]) -> Chosen:
        """Return those for which `keep` is true."""
        if keep.all():
            return self
        mask = pa.array(keep)
        return Chosen(self.indexes[keep], {name: column.filter(mask) for name, column in self.columns.items()})

    def without(self, events: Collection[int]) -> Chosen:
        """Return those that are not among the events with these indexes."""
        return self.where(~np.isin(self.indexes, list(events))) if events else self

    def plus(self, columns: Mapping[str, Column]) -> Chosen:
        """Return them with more columns."""
        return Chosen(self.indexes, {**self.columns, **columns})


@dataclass(frozen=True, slots=True)
class ViewSteps:
    """A view, compiled: `functions` stand in an order in which inputs come first, `features` are what it makes rows of."""

    where: FeatureFunction | None
    functions: tuple[FeatureFunction, ...]
    features: tuple[str, ...]

    @property
    def inputs(self) -> set[str]:
        """Return the names of the columns that it takes, computed ones among them."""
        functions = [*self.functions, self.where] if self.where else self.functions
        return {*self.features, *(name for function in functions for name in function.inputs)}

    def run(self, events: Chosen) -> tuple[Chosen, list[Fault]]:
        """Return the events that have rows in this view, with its features, and the faults of others."""
        faults: list[Fault] = []
        if self.where and len(events):
            events = _filtered(events, self.where, faults)
        for function in self.functions:
            if not len(events):
                break
            events = _computed(events, function, faults)
        return events, faults


def _filtered(events: Chosen, where: FeatureFunction, faults: list[Fault]) -> Chosen:
    found = _call(events, where, faults)
    return events.where(np.nan_to_num(found.outputs[0]) != 0)  # NaN is null, or an event at fault


def _computed(events: Chosen, function: FeatureFunction, faults: list[Fault]) -> Chosen:
    """Return the events with the function's results, without those at fault, which later functions never see."""
    found = _call(events, function, faults)
    made = {name: Column.of_doubles(doubles) for name, doubles in zip(function.names, found.outputs, strict=True)}
    events = events.plus(made)
    return events.without(events.indexes[list(found.faults)].tolist()) if found.faults else events


def _call(events: Chosen, function: FeatureFunction, faults: list[Fault]) -> Evaluated:
    inputs: Sequence[Column] = [events.columns[name] for name in function.inputs]
    found = evaluate(function, inputs)
    faults += [Fault(int(events.indexes[i]), Reason.TRANSFORM_FAILED, detail) for i, detail in found.faults.items()]
    return found
