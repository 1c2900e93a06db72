"""Events through the path again, for one view: compute as a stream or a file does, and keep what the range asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.config import IngestConfig
from cluster.ingest.backfills import Backfill
from cluster.ingest.batch import rejects_table
from cluster.ingest.transform import Transform, compile_transform
from cluster.records import Batch, Events, Origin, Reason, Rejected
from cluster.registry.catalog import Catalog

Positions = NDArray[np.int64]


class Decoded(NamedTuple):
    """Records that were read: each is an event, or did not pass."""

    events: Events
    rejected: Sequence[Rejected]


class Span(NamedTuple):
    """Positions `[first, next)` of an origin."""

    origin: Origin
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Recompute:
    """The path from events on, for one view; compiled once, used by one thread.

    Functions of other views are not run: a record at which one of them fails still has this view's features.
    """

    transform: Transform
    features: tuple[str, ...]
    since_us: int
    until_us: int

    @classmethod
    def compile(cls, catalog: Catalog, backfill: Backfill, ingest: IngestConfig) -> Recompute:
        """Prepare it; raise NotFound or Misconfigured."""
        return cls(
            transform=compile_transform(only(catalog, backfill.view), backfill.source, ingest.transform_timeout_s),
            features=backfill.features,
            since_us=backfill.since_us,
            until_us=backfill.until_us,
        )

    def run(self, decoded: Decoded, before: Positions, span: Span) -> Batch:
        """Return a chunk about the records of a span whose event time is in the range now, and those at `before`, where it was.

        Its rejects are those of them that do not pass; they say no more than where and why.
        """
        events, rejected = decoded
        asked = _filtered(events, self._is_asked(events, before) & _lie_in(events, span))
        done = self.transform(asked)
        failed = [_reject(int(asked.position[f.event].as_py()), f.reason, f.detail) for f in done.faults]
        had_rows = set(before.tolist())
        refused = [_reject(r.position, r.reason, r.detail) for r in rejected if r.position in had_rows]
        rows = done.rows.filter(pc.is_in(done.rows["feature_name"].cast(pa.string()), pa.array(self.features, pa.string())))
        count = len(np.unique(rows["position"].to_numpy()))
        return Batch(span.origin, 0, span.first, span.next, count, rows, rejects_table([*refused, *failed]))

    def _is_asked(self, events: Events, before: Positions) -> NDArray[np.bool_]:
        time = events.event_timestamp.cast(pa.int64()).to_numpy()
        asked: NDArray[np.bool_] = (time >= self.since_us) & (time < self.until_us)
        return asked | np.isin(events.position.to_numpy(), before)


def only(catalog: Catalog, view: str) -> Catalog:
    """Return a catalog that knows one view and its features."""
    features = {name: spec for name, spec in catalog.features.items() if spec.view == view}
    return replace(catalog, views={view: catalog.views[view]}, features=features)


def _lie_in(events: Events, span: Span) -> NDArray[np.bool_]:
    positions = events.position.to_numpy()
    inside: NDArray[np.bool_] = (positions >= span.first) & (positions < span.next)
    return inside


def _filtered(events: Events, keep: NDArray[np.bool_]) -> Events:
    if keep.all():
        return events
    mask = pa.array(keep)
    return Events(
        entity_id=events.entity_id.filter(mask),
        event_timestamp=events.event_timestamp.filter(mask),
        created_at=events.created_at.filter(mask),
        position=events.position.filter(mask),
        columns={name: column.filter(mask) for name, column in events.columns.items()},
    )


def _reject(position: int, reason: Reason, detail: str) -> Rejected:
    return Rejected(position, reason, detail, None)
