"""Events become feature rows: the functions of a source's views, compiled into one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest import dag
from cluster.ingest.columns import Column, to_double
from cluster.ingest.evaluate import evaluate
from cluster.records import ROWS_SCHEMA, Events, Reason
from cluster.registry.catalog import Catalog
from cluster.registry.checks import inputs_of
from cluster.registry.definitions import FeatureFunction, Wide


class Fault(NamedTuple):
    """An event at which a function failed: its index in the `Events`, and what happened."""

    event: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Transformed:
    """Feature rows (`ROWS_SCHEMA`) of `events` events; the other events are in `faults`, in order.

    An event at fault in one feature has no row at all: a record has one outcome.
    """

    rows: pa.Table
    events: int
    faults: list[Fault]


class Transform(Protocol):
    """Computes the features of one source. Keeps nothing between calls, and never raises for data."""

    def __call__(self, events: Events, /) -> Transformed:
        """Return rows for each event that no function failed at."""


def compile_transform(catalog: Catalog, source_name: str) -> Transform:
    """Prepare the features of all views over a source; raise NotFound or Misconfigured."""
    records = catalog.source(source_name).records
    if not isinstance(records, Wide):
        return transform_long
    columns = inputs_of(records)
    functions = [
        function
        for view in catalog.views_of(source_name)
        for function in dag.order([f for f in view.features if isinstance(f, FeatureFunction)], columns)
    ]
    return WideTransform(
        records=records,
        functions=tuple(functions),
        features=tuple(spec.name for spec in catalog.features_of(source_name)),
    )


def transform_long(events: Events) -> Transformed:
    """Return the columns as they are: each event of a long source is a feature row."""
    columns = [
        events.entity_id,
        events.columns["feature_name"],
        events.columns["value"],
        events.event_timestamp,
        events.created_at,
        events.position,
    ]
    return Transformed(pa.Table.from_arrays(columns, schema=ROWS_SCHEMA), len(events), [])


@dataclass(frozen=True)
class WideTransform:
    """Runs `functions`, in an order in which inputs come first, and makes a row of each event and each of `features`."""

    records: Wide
    functions: tuple[FeatureFunction, ...]
    features: tuple[str, ...]

    def __call__(self, events: Events, /) -> Transformed:
        """Return rows for each event that no function failed at."""
        run = _Run(np.arange(len(events)), self._inputs(events), [])
        for function in self.functions:
            if len(run.alive) == 0:
                break
            run.step(function)
        good = events if not run.faults else _filtered(events, run.alive)
        return Transformed(self._rows(good, run.columns), len(good), sorted(run.faults))

    def _inputs(self, events: Events) -> dict[str, Column]:
        """Return the columns that functions take or that are features themselves."""
        wanted = {name for function in self.functions for name in function.inputs} | set(self.features)
        optional = {field.name: field.optional for field in self.records.fields}
        given = {
            **events.columns,
            self.records.join_key: events.entity_id,
            self.records.event_timestamp: events.event_timestamp,
            **({self.records.created_at: events.created_at} if self.records.created_at else {}),
        }
        return {name: Column.of(array, optional=optional.get(name, False)) for name, array in given.items() if name in wanted}

    def _rows(self, events: Events, columns: Mapping[str, Column]) -> pa.Table:
        """Return the rows of one feature after the other, each in event order."""
        times = len(self.features)
        if not times or not len(events):
            return ROWS_SCHEMA.empty_table()
        codes = np.repeat(np.arange(times, dtype=np.int16), len(events))
        names = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(self.features, pa.string()), safe=False)
        arrays = [
            pa.concat_arrays([events.entity_id] * times),
            names,
            pa.concat_arrays([to_double(columns[name].array) for name in self.features]),
            pa.concat_arrays([events.event_timestamp] * times),
            pa.concat_arrays([events.created_at] * times),
            pa.concat_arrays([events.position] * times),
        ]
        return pa.Table.from_arrays(arrays, schema=ROWS_SCHEMA)


@dataclass
class _Run:
    """One batch on its way through the functions: `columns` hold the events with index `alive`, which none failed at."""

    alive: NDArray[np.int64]
    columns: dict[str, Column]
    faults: list[Fault]

    def step(self, function: FeatureFunction) -> None:
        """Add the function's results to the columns, and take the events at fault out of all of them."""
        found = evaluate(function, [self.columns[name] for name in function.inputs])
        self.columns |= {n: Column.of_doubles(d) for n, d in zip(function.names, found.outputs, strict=True)}
        if not found.faults:
            return
        self.faults += [Fault(int(self.alive[i]), Reason.TRANSFORM_FAILED, detail) for i, detail in found.faults.items()]
        keep = np.ones(len(self.alive), dtype=np.bool_)
        keep[list(found.faults)] = False
        self.alive = self.alive[keep]
        mask = pa.array(keep)
        self.columns = {name: column.filter(mask) for name, column in self.columns.items()}


def _filtered(events: Events, alive: NDArray[np.int64]) -> Events:
    """Return the events at `alive`, without the columns: those are in the run."""
    indexes = pa.array(alive)
    return Events(
        entity_id=events.entity_id.take(indexes),
        event_timestamp=events.event_timestamp.take(indexes),
        created_at=events.created_at.take(indexes),
        position=events.position.take(indexes),
        columns={},
    )
