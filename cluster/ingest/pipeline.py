"""The sentence that Raytide is: decode, validate, transform, batch. Both entrances meet here.

A partition actor calls `SourcePlan.run` with records of Kafka; an upload task decodes its piece and calls `to_outcome`.
Everything after that is the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from cluster.config import IngestConfig
from cluster.ingest.batch import rejects_table
from cluster.ingest.decode import Decoder, compile_decoder
from cluster.ingest.transform import Transform, compile_transform
from cluster.records import Batch, Events, Headers, Origin, Records, Rejected
from cluster.registry.catalog import Catalog

Raw = tuple[bytes | None, bytes | None, Headers, int]


class RawRecord(Protocol):
    """Looks up what came in at a position, for the quarantine."""

    def __call__(self, position: int, /) -> Raw:
        """Return payload, key, headers and the record's own time (µs)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some records: `events` of them passed and have `rows` in views that take them, the others are rejects."""

    events: int
    rows: pa.Table
    rejects: pa.Table

    def batch(self, origin: Origin, epoch: int, span: tuple[int, int]) -> Batch:
        """Return the batch that accounts for the positions `[span[0], span[1])` of `origin`."""
        return Batch(origin, epoch, span[0], span[1], self.events, self.rows, self.rejects)


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The path for one source under one registry version, compiled once, used batch by batch by one thread."""

    source: str
    registry_version: int
    online: tuple[str, ...]
    decode: Decoder
    transform: Transform

    @classmethod
    def compile(cls, catalog: Catalog, source: str, ingest: IngestConfig) -> SourcePlan:
        """Prepare decoder and graph for `source`; raise NotFound or Misconfigured."""
        return cls(
            source=source,
            registry_version=catalog.version,
            online=tuple(catalog.online_names(source)),
            decode=compile_decoder(catalog.source(source), catalog, ingest),
            transform=compile_transform(catalog, source, ingest.transform_timeout_s),
        )

    def run(self, records: Records, now_us: int) -> Outcome:
        """Take records of a stream all the way to rows and rejects. Never raises for data."""
        events, rejected = self.decode(records, now_us)

        def raw(position: int) -> Raw:
            index = int(np.searchsorted(records.positions, position))
            return records.values[index], *records.meta(index), int(records.timestamps[index])

        return to_outcome(self.transform, events, rejected, raw)


def to_outcome(transform: Transform, events: Events, rejected: Sequence[Rejected], raw: RawRecord) -> Outcome:
    """Compute features of valid events; events at which a function failed join the rejects."""
    done = transform(events)
    failed = []
    for index, reason, detail in done.faults:
        position = events.position[index].as_py()
        failed.append(Rejected(position, reason, detail, *raw(position)))
    return Outcome(done.events, done.rows, rejects_table([*rejected, *failed]))
