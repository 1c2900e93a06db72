"""JSON messages to events: typed decode one record at a time, columns from there on.

One record at a time is as fast as decoding a whole batch as one document, and a bad record cannot harm a neighbour. A
good record pays for the typed decode and its share of a few column operations; only a record that failed is looked at
again, to say why (`cluster.ingest.explain`).

What JSON leaves open: of a repeated name the last counts; names that the source does not use are ignored unless it is
strict; an entity id may be an integer, which becomes its decimal text, but not a fraction or a boolean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from cluster.config import IngestConfig
from cluster.ingest.explain import Kind, Slot, explain
from cluster.ingest.parsed import Parsed, RowFault, Validator
from cluster.ingest.times import text_of
from cluster.ingest.validate import ARROW_TYPES, compile_validator
from cluster.records import Events, Records, Rejected
from cluster.registry.catalog import Catalog
from cluster.registry.definitions import DType, FileSource, Long, StreamSource, Wide

#: `decoder(records, now_us)` returns the valid events and the others as rejects, both in position order.
Decoder = Callable[[Records, int], tuple[Events, list[Rejected]]]

_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_TYPES: dict[Kind, Any] = {
    Kind.ID: str | int,
    Kind.TIME: str | _Int64,
    Kind.STRING: str,
    Kind.FLOAT64: float,
    Kind.INT64: _Int64,
    Kind.BOOL: bool,
}


def compile_decoder(source: StreamSource | FileSource, catalog: Catalog, ingest: IngestConfig) -> Decoder:
    """Prepare the decoder of `source`; raise Misconfigured when what it declares cannot be checked.

    The decoder never raises for data, keeps no state between calls, and looks up key and headers of rejects only.
    """
    return JsonDecoder(source.records, compile_validator(source, catalog, ingest), ingest.max_record_bytes)


def slots_of(records: Long | Wide) -> list[Slot]:
    """Return the fields of a record of this shape, in the order in which they are looked at."""
    created_at = [] if records.created_at is None else [Slot(records.created_at, Kind.TIME, required=False, nullable=True)]
    if isinstance(records, Long):
        return [
            Slot(records.entity_id, Kind.ID),
            Slot(records.event_timestamp, Kind.TIME),
            *created_at,
            Slot(records.feature_name, Kind.STRING),
            Slot(records.value, Kind.FLOAT64, nullable=True),
        ]
    declared = [Slot(f.name, Kind(f.dtype), required=f.required, nullable=not f.required) for f in records.fields]
    return [Slot(records.join_key, Kind.ID), Slot(records.event_timestamp, Kind.TIME), *created_at, *declared]


class JsonDecoder:
    """A `Decoder` for one record shape."""

    def __init__(self, records: Long | Wide, validate: Validator, max_bytes: int) -> None:
        self._slots, self._strict = slots_of(records), records.strict
        self._decode = msgspec.json.Decoder(_struct(self._slots, strict=self._strict)).decode
        self._columns = [
            _Column(slot.name, attrgetter(f"f{index}"), _builder(slot.kind, records.timestamp_unit))
            for index, slot in enumerate(self._slots)
        ]
        self._validate, self._max_bytes = validate, max_bytes

    def __call__(self, records: Records, now_us: int) -> tuple[Events, list[Rejected]]:
        """Return events and rejects; together they are all of `records`."""
        rows, unreadable = self._read(records.values)
        readable = np.delete(np.arange(len(records)), [index for index, _, _ in unreadable])
        parsed = Parsed(
            positions=records.positions[readable],
            timestamps=records.timestamps[readable],
            columns={column.name: column.of(rows) for column in self._columns},
        )
        events, _, invalid = self._validate(parsed, now_us)
        faults = unreadable + [(int(readable[index]), reason, detail) for index, reason, detail in invalid]
        return events, [_rejected(records, fault) for fault in sorted(faults)]

    def _read(self, values: Sequence[bytes | None]) -> tuple[list[Any], list[RowFault]]:
        rows: list[Any] = []
        faults: list[RowFault] = []
        rest = iter(_without_long(values, self._max_bytes))
        while True:
            try:
                rows.extend(map(self._decode, rest))  # type: ignore[arg-type] # None raises TypeError, as a tombstone should
            except (ValueError, TypeError, RecursionError):
                # `extend` keeps what came before the failure, and `rest` stands behind it.
                index = len(rows) + len(faults)
                faults.append((index, *explain(values[index], self._slots, self._max_bytes, strict=self._strict)))
            else:
                return rows, faults


def _struct(slots: Iterable[Slot], *, strict: bool) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for index, slot in enumerate(slots):
        kind = _TYPES[slot.kind] | None if slot.nullable else _TYPES[slot.kind]
        fields.append((f"f{index}", kind) if slot.required else (f"f{index}", kind, None))
    names = {f"f{index}": slot.name for index, slot in enumerate(slots)}
    return msgspec.defstruct("Record", fields, rename=names, kw_only=True, forbid_unknown_fields=strict, gc=False)


def _without_long(values: Sequence[bytes | None], limit: int) -> Sequence[bytes | None]:
    """Return values with None, which fails, for those that must not even be looked at."""
    try:
        longest = max(map(len, values), default=0)  # type: ignore[arg-type] # see below
    except TypeError:  # there is a None among them, which costs a second look
        longest = max(len(value or b"") for value in values)
    if longest <= limit:
        return values
    return [value if value is not None and len(value) <= limit else None for value in values]


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    get: Callable[[Any], Any]
    build: Callable[[list[Any]], pa.Array]

    def of(self, rows: Sequence[Any]) -> pa.Array:
        return self.build(list(map(self.get, rows)))


def _builder(kind: Kind, unit: str) -> Callable[[list[Any]], pa.Array]:
    if kind is Kind.ID:
        return _ids
    if kind is Kind.TIME:
        return partial(_times, unit=unit)
    return partial(pa.array, type=ARROW_TYPES[DType(kind)])


def _ids(values: list[str | int]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:  # there are integers among them
        return pa.array(list(map(str, values)), pa.string())


def _times(values: list[str | int | None], unit: str) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:  # there are integers among them
        if not any(isinstance(value, str) for value in values):
            return pa.array(values, pa.int64())
        return pa.array([text_of(value, unit) if isinstance(value, int) else value for value in values], pa.string())


def _rejected(records: Records, fault: RowFault) -> Rejected:
    index, reason, detail = fault
    time_us = int(records.timestamps[index])
    return Rejected(int(records.positions[index]), reason, detail, records.values[index], *records.meta(index), time_us)
