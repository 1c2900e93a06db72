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
from cluster.ingest.parsed import RowFault
from cluster.ingest.validate import Faults, FieldCheck, is_bounded
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
class Step:
    """A function, how long a call of it may take, and the limits of its features."""

    function: FeatureFunction
    timeout_s: float
    limits: tuple[FieldCheck, ...]

    @classmethod
    def of(cls, function: FeatureFunction, timeout_s: float) -> Step:
        """Prepare a function's limits; raise Misconfigured when they cannot be checked."""
        return cls(function, timeout_s, tuple(FieldCheck(field) for field in function.fields if is_bounded(field)))

    def call(self, events: Chosen, faults: list[Fault]) -> Evaluated:
        """Return the function's results for events, and add those that it failed at to `faults`."""
        found = evaluate(self.function, [events.columns[name] for name in self.function.inputs], self.timeout_s)
        faults += [Fault(int(events.indexes[index]), *why) for index, why in found.faults.items()]
        return found

    def run(self, events: Chosen, faults: list[Fault]) -> Chosen:
        """Return the events with the function's results, and without those at fault, which later functions never see."""
        found = self.call(events, faults)
        names = self.function.names
        made = {name: Column.of_doubles(doubles) for name, doubles in zip(names, found.outputs, strict=True)}
        beyond = _beyond(made, self.limits, found.faults)
        faults += [Fault(int(events.indexes[index]), reason, detail) for index, reason, detail in beyond]
        bad = [*found.faults, *(index for index, _, _ in beyond)]
        events = events.plus(made)
        return events.without(events.indexes[bad].tolist())


@dataclass(frozen=True, slots=True)
class ViewSteps:
    """A view, compiled: `steps` stand in an order in which inputs come first, `features` are what it makes rows of."""

    where: Step | None
    steps: tuple[Step, ...]
    features: tuple[str, ...]

    @property
    def inputs(self) -> set[str]:
        """Return the names of the columns that it takes, computed ones among them."""
        steps = [*self.steps, self.where] if self.where else self.steps
        return {*self.features, *(name for step in steps for name in step.function.inputs)}

    def run(self, events: Chosen) -> tuple[Chosen, list[Fault]]:
        """Return the events that have rows in this view, with its features, and the faults of others."""
        faults: list[Fault] = []
        if self.where and len(events):
            events = _filtered(events, self.where, faults)
        for step in self.steps:
            if not len(events):
                break
            events = step.run(events, faults)
        return events, faults


def _filtered(events: Chosen, where: Step, faults: list[Fault]) -> Chosen:
    found = where.call(events, faults)
    return events.where(np.nan_to_num(found.outputs[0]) != 0)  # NaN is null, or an event at fault


def _beyond(columns: Mapping[str, Column], limits: Sequence[FieldCheck], failed: Collection[int]) -> list[RowFault]:
    """Return the rows with a value outside its limits; an event that failed has no values."""
    if not limits:
        return []
    marks = Faults(len(next(iter(columns.values()))))
    for check in limits:
        check.mark_bounds(columns[check.field.name].array, marks)
    return [fault for fault in marks.listed() if fault[0] not in failed]
