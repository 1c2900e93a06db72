"""Events become feature rows: the functions of a source's views, compiled into one sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest import dag
from cluster.ingest.budget import TIMEOUT_S
from cluster.ingest.columns import Column, to_double
from cluster.ingest.steps import Chosen, Fault, Step, ViewSteps
from cluster.records import ROWS_SCHEMA, Events
from cluster.registry.catalog import Catalog
from cluster.registry.checks import inputs_of
from cluster.registry.definitions import FeatureView, Wide


@dataclass(frozen=True, slots=True)
class Transformed:
    """Feature rows (`ROWS_SCHEMA`) of `events` events; the other events are in `faults`, in order.

    An event at fault in one feature has no row at all: a record has one outcome. One that no view's `where` takes has no
    row either, and is no fault.
    """

    rows: pa.Table
    events: int
    faults: list[Fault]


class Transform(Protocol):
    """Computes the features of one source. Keeps nothing between calls, and never raises for data."""

    def __call__(self, events: Events, /) -> Transformed:
        """Return rows for each event that no function failed at."""


def compile_transform(catalog: Catalog, source_name: str, timeout_s: float = TIMEOUT_S) -> Transform:
    """Prepare the features of all views over a source, `timeout_s` for a call; raise NotFound or Misconfigured."""
    records = catalog.source(source_name).records
    if not isinstance(records, Wide):
        return transform_long
    columns = inputs_of(records)
    return WideTransform(records, tuple(_compiled(view, columns, timeout_s) for view in catalog.views_of(source_name)))


def _compiled(view: FeatureView, columns: Iterable[str], timeout_s: float) -> ViewSteps:
    functions = dag.order(view.record_functions, columns)
    where = Step.of(view.where, timeout_s) if view.where else None
    return ViewSteps(where, tuple(Step.of(function, timeout_s) for function in functions), view.stored)


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
    """Runs one view after the other, and makes a row of each of its features and of each event that it takes."""

    records: Wide
    views: tuple[ViewSteps, ...]

    def __call__(self, events: Events, /) -> Transformed:
        """Return rows for each event that no function failed at."""
        good = Chosen(np.arange(len(events)), self._inputs(events))
        found: list[Chosen] = []
        faults: list[Fault] = []
        for view in self.views:
            chosen, failed = view.run(good)
            found.append(chosen)
            faults += failed
            good = good.without({fault.event for fault in failed})
        bad = {fault.event for fault in faults}
        return Transformed(self._rows(events, [chosen.without(bad) for chosen in found]), len(good), sorted(faults))

    def _inputs(self, events: Events) -> dict[str, Column]:
        """Return the columns that functions take or that are features themselves."""
        wanted = {name for view in self.views for name in view.inputs}
        optional = {field.name: field.optional for field in self.records.fields}
        given = {
            **events.columns,
            self.records.join_key: events.entity_id,
            self.records.event_timestamp: events.event_timestamp,
            **({self.records.created_at: events.created_at} if self.records.created_at else {}),
        }
        return {name: Column.of(array, optional=optional.get(name, False)) for name, array in given.items() if name in wanted}

    def _rows(self, events: Events, found: Sequence[Chosen]) -> pa.Table:
        """Return the rows of one feature after the other, each in event order."""
        taken = [_at(events, chosen.indexes) for chosen in found]
        parts = [
            (part, chosen, name) for view, part, chosen in zip(self.views, taken, found, strict=True) for name in view.features
        ]
        counts = [len(part) for part, _, _ in parts]
        if not sum(counts):
            return ROWS_SCHEMA.empty_table()
        codes = pa.array(np.repeat(np.arange(len(parts), dtype=np.int16), counts))
        features = pa.array([name for _, _, name in parts], pa.string())
        arrays = [
            pa.concat_arrays([part.entity_id for part, _, _ in parts]),
            pa.DictionaryArray.from_arrays(codes, features, safe=False),
            pa.concat_arrays([_values(chosen, name) for _, chosen, name in parts]),
            pa.concat_arrays([part.event_timestamp for part, _, _ in parts]),
            pa.concat_arrays([part.created_at for part, _, _ in parts]),
            pa.concat_arrays([part.position for part, _, _ in parts]),
        ]
        return pa.Table.from_arrays(arrays, schema=ROWS_SCHEMA)


def _values(chosen: Chosen, name: str) -> pa.Array:
    """Return a feature's values; a view that takes no event has not computed its features."""
    return to_double(chosen.columns[name].array) if len(chosen) else pa.array([], pa.float64())


def _at(events: Events, indexes: NDArray[np.int64]) -> Events:
    """Return the events at `indexes`, without the columns: those are with the view."""
    if len(indexes) == len(events):
        return events
    rows = pa.array(indexes)
    return Events(
        entity_id=events.entity_id.take(rows),
        event_timestamp=events.event_timestamp.take(rows),
        created_at=events.created_at.take(rows),
        position=events.position.take(rows),
        columns={},
    )
