"""The meaning of rows: what the registry declares about them, checked a column at a time.

A row's first fault counts, in this order: entity id, event time, created at; then for long records feature name and
value, for wide records the declared fields in their order, each for presence, finiteness, range, allowed values. A
field's default takes the place of a null before that.
A row without a fault never costs more than its share of a vectorised operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.config import IngestConfig
from cluster.errors import Misconfigured
from cluster.ingest.parsed import Parsed, RowFault, Validator
from cluster.ingest.times import to_micros
from cluster.records import Events, Reason
from cluster.registry.catalog import Catalog
from cluster.registry.definitions import DType, Field, FileSource, Long, StreamSource, Wide

MAX_ENTITY_ID = 256

ARROW_TYPES: Mapping[DType, pa.DataType] = {
    DType.FLOAT64: pa.float64(),
    DType.INT64: pa.int64(),
    DType.STRING: pa.string(),
    DType.BOOL: pa.bool_(),
}

Mask = NDArray[np.bool_]


class Faults:
    """The first fault of each row. Checks run in order and mark what they find; a marked row keeps its mark."""

    def __init__(self, rows: int) -> None:
        self._kinds: list[tuple[Reason, str]] = []
        self._first: NDArray[np.int16] | None = None
        self._rows = rows

    def mark(self, wrong: Mask, reason: Reason, detail: str) -> None:
        """Give the rows of `wrong` that have no fault yet this one."""
        if not wrong.any():
            return
        if self._first is None:
            self._first = np.full(self._rows, -1, dtype=np.int16)
        self._first[wrong & (self._first < 0)] = len(self._kinds)
        self._kinds.append((reason, detail))

    def kept(self) -> NDArray[np.int64]:
        """Return the indexes of the rows without a fault."""
        return np.arange(self._rows) if self._first is None else np.flatnonzero(self._first < 0)

    def listed(self) -> list[RowFault]:
        """Return the fault of each other row, in row order."""
        if self._first is None:
            return []
        return [(index, *self._kinds[self._first[index]]) for index in np.flatnonzero(self._first >= 0).tolist()]


#: Checks a row's own columns, marks faults, and returns the columns of the event.
Check = Callable[[Parsed, Faults], dict[str, pa.Array]]


def compile_validator(source: StreamSource | FileSource, catalog: Catalog, ingest: IngestConfig) -> Validator:
    """Prepare the checks of `source`; raise Misconfigured when what it declares cannot be checked.

    The validator never raises for data. It keeps no state: one may serve many threads.
    """
    records = source.records
    check: Check
    if isinstance(records, Long):
        key = records.entity_id
        check = LongCheck(records, tuple((f.name, f.field) for f in catalog.features_of(source.name)))
    else:
        key = records.join_key
        check = WideCheck(tuple(FieldCheck(field) for field in records.fields))
    times = TimeCheck(records, ingest.max_future_skew_s * 1_000_000)
    return RecordValidator(key, times, check)


@dataclass(frozen=True, slots=True)
class RecordValidator:
    """A `Validator`: entity id, then times, then what the record shape adds."""

    key: str
    times: TimeCheck
    check: Check

    def __call__(self, parsed: Parsed, now_us: int) -> tuple[Events, NDArray[np.int64], list[RowFault]]:
        """Return valid events, their indexes in `parsed`, and the other rows' faults."""
        faults = Faults(len(parsed))
        entity_id = _column(parsed, self.key, pa.string())
        check_entity_id(entity_id, self.key, faults)
        event_timestamp, created_at = self.times.read(parsed, now_us, faults)
        columns = self.check(parsed, faults)
        kept = faults.kept()
        arrays = {
            "entity_id": entity_id,
            "event_timestamp": pa.array(event_timestamp).cast(pa.timestamp("us")),
            "created_at": pa.array(created_at).cast(pa.timestamp("us")),
            "position": pa.array(parsed.positions),
        }
        if len(kept) < len(parsed):
            rows = pa.array(kept)
            arrays = {name: array.take(rows) for name, array in arrays.items()}
            columns = {name: array.take(rows) for name, array in columns.items()}
        return Events(**arrays, columns=columns), kept, faults.listed()


def check_entity_id(ids: pa.Array, name: str, faults: Faults) -> None:
    """Mark what is not 1-256 printable characters."""
    if _all_plain(ids):
        return
    missing = _mask(ids.is_null())
    faults.mark(missing, Reason.MISSING_FIELD, f"'{name}' is missing")
    length = pc.utf8_length(ids).fill_null(1).to_numpy(zero_copy_only=False)
    faults.mark(length < 1, Reason.BAD_ENTITY_ID, f"'{name}' is empty")
    faults.mark(length > MAX_ENTITY_ID, Reason.BAD_ENTITY_ID, f"'{name}' is longer than {MAX_ENTITY_ID} characters")
    printable = _mask(pc.utf8_is_printable(ids).fill_null(True))
    faults.mark(~printable, Reason.BAD_ENTITY_ID, f"'{name}' has characters that do not print")


def _all_plain(ids: pa.Array) -> bool:
    """Return True only if every id is 1-256 printable ASCII characters: a glance at all bytes at once."""
    if ids.null_count or not len(ids):
        return not len(ids)
    _, offsets_buffer, data = ids.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(offsets)
    if lengths.min() < 1 or lengths.max() > MAX_ENTITY_ID:
        return False
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return bool(text.min() >= ord(" ") and text.max() <= ord("~"))


@dataclass(frozen=True, slots=True)
class TimeCheck:
    """Reads event time and created at; both must be times, and not later than now plus `skew_us`."""

    records: Long | Wide
    skew_us: int

    def read(self, parsed: Parsed, now_us: int, faults: Faults) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return both in µs; a row without created at has the record's own time instead, which is not checked."""
        name = self.records.event_timestamp
        column = _column(parsed, name, pa.string())
        faults.mark(_mask(column.is_null()), Reason.MISSING_FIELD, f"'{name}' is missing")
        event_timestamp = self._micros(column, name, now_us, faults)
        if self.records.created_at is None:
            return event_timestamp, parsed.timestamps
        name = self.records.created_at
        column = _column(parsed, name, pa.string())
        created_at = self._micros(column, name, now_us, faults)
        return event_timestamp, np.where(_mask(column.is_null()), parsed.timestamps, created_at)

    def _micros(self, column: pa.Array, name: str, now_us: int, faults: Faults) -> NDArray[np.int64]:
        micros, good = to_micros(column, self.records.timestamp_unit)
        faults.mark(~good & _mask(column.is_valid()), Reason.BAD_TIME, f"'{name}' is not a time from 1970 to 2262")
        seconds = self.skew_us // 1_000_000
        faults.mark(
            micros > now_us + self.skew_us,
            Reason.TIME_IN_FUTURE,
            f"'{name}' is more than {seconds} s ahead of this machine's clock",
        )
        return micros


class LongCheck:
    """Feature name and value of long records. A null value is a value."""

    def __init__(self, records: Long, features: Sequence[tuple[str, Field | None]]) -> None:
        self._records = records
        self._names = pa.array([name for name, _ in features], pa.string())
        self._checks = [(code, FieldCheck(field)) for code, (_, field) in enumerate(features) if field and is_bounded(field)]

    def __call__(self, parsed: Parsed, faults: Faults) -> dict[str, pa.Array]:
        """Return `feature_name` over the source's fixed dictionary, and `value`."""
        names = _column(parsed, self._records.feature_name, pa.string())
        values = _column(parsed, self._records.value, pa.float64())
        faults.mark(_mask(names.is_null()), Reason.MISSING_FIELD, f"'{self._records.feature_name}' is missing")
        codes = pc.index_in(names, self._names)
        unknown = f"'{self._records.feature_name}' names no feature of this source"
        faults.mark(_mask(codes.is_null()), Reason.UNKNOWN_FEATURE, unknown)
        _mark_not_finite(values, self._records.value, faults)
        if self._checks:
            self._check_bounds(values, codes.fill_null(-1).to_numpy(), faults)
        indices = codes.cast(pa.int16())
        return {"feature_name": pa.DictionaryArray.from_arrays(indices, self._names), "value": values}

    def _check_bounds(self, values: pa.Array, codes: NDArray[np.int32], faults: Faults) -> None:
        for code, check in self._checks:
            check.mark_bounds(values, faults, where=codes == code)


class WideCheck:
    """The declared fields of wide records."""

    def __init__(self, checks: Sequence[FieldCheck]) -> None:
        self._checks = checks

    def __call__(self, parsed: Parsed, faults: Faults) -> dict[str, pa.Array]:
        """Return one array for each field, named and typed as declared."""
        columns = {}
        for check in self._checks:
            column = check.filled(_column(parsed, check.field.name, ARROW_TYPES[check.field.dtype]))
            check.mark(column, faults)
            columns[check.field.name] = column
        return columns


class FieldCheck:
    """What one `Field` declares about its values."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self._allowed = None if field.allowed is None else _allowed(field)
        self._bounds = _bounds(field)

    def filled(self, column: pa.Array) -> pa.Array:
        """Return the column with the default in place of nulls, if there is one."""
        if self.field.default is None or not column.null_count:
            return column
        return column.fill_null(pa.scalar(self.field.default, column.type))

    def mark(self, column: pa.Array, faults: Faults) -> None:
        """Mark what is missing, not finite, out of range or not allowed."""
        name = self.field.name
        if column.null_count and not self.field.optional:
            faults.mark(_mask(column.is_null()), Reason.MISSING_FIELD, f"'{name}' is missing")
        _mark_not_finite(column, name, faults)
        self.mark_bounds(column, faults)

    def mark_bounds(self, column: pa.Array, faults: Faults, where: Mask | None = None) -> None:
        """Mark what is out of range or not allowed, nulls aside, among the rows of `where`."""
        name = self.field.name
        for bound, wrong, text in self._bounds:
            self._mark(wrong(column, bound), where, f"'{name}' is {text}", faults)
        if self._allowed is not None:
            known = pc.or_(pc.is_in(column, self._allowed), column.is_null())
            self._mark(pc.invert(known), where, f"'{name}' is not one of the allowed values", faults)

    @staticmethod
    def _mark(wrong: pa.Array, where: Mask | None, detail: str, faults: Faults) -> None:
        rows = _mask(wrong.fill_null(False))
        faults.mark(rows if where is None else rows & where, Reason.OUT_OF_RANGE, detail)


def _mark_not_finite(column: pa.Array, name: str, faults: Faults) -> None:
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy(zero_copy_only=False)  # nulls become NaN, and are told apart only if something is wrong
        strange = ~np.isfinite(numbers)
        if strange.any():
            faults.mark(strange & _mask(column.is_valid()), Reason.NOT_FINITE, f"'{name}' is not a finite number")


def _bounds(field: Field) -> list[tuple[pa.Scalar, Callable[[pa.Array, pa.Scalar], pa.Array], str]]:
    found = []
    if field.minimum is not None:
        found.append((_bound(field, field.minimum, math.ceil), pc.less, f"below the minimum of {field.minimum:g}"))
    if field.maximum is not None:
        found.append((_bound(field, field.maximum, math.floor), pc.greater, f"above the maximum of {field.maximum:g}"))
    return found


def _bound(field: Field, bound: float, to_whole: Callable[[float], int]) -> pa.Scalar:
    # Arrow refuses to compare an int64 above 2**53 with a double, so whole numbers are compared with whole numbers.
    if field.dtype is not DType.INT64 or math.isinf(bound):
        return pa.scalar(bound, pa.float64())
    return pa.scalar(min(max(to_whole(bound), -(2**63)), 2**63 - 1), pa.int64())


def _allowed(field: Field) -> pa.Array:
    values: Sequence[Any] = field.allowed or ()
    try:
        allowed = pa.array(values, ARROW_TYPES[field.dtype])
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        allowed = None
    if allowed is None or allowed.to_pylist() != list(values):
        raise Misconfigured(f"field '{field.name}': `allowed` holds values that are not {field.dtype}")
    return allowed


def is_bounded(field: Field) -> bool:
    """Return whether a field limits its values."""
    return any(bound is not None for bound in (field.minimum, field.maximum, field.allowed))


def _column(parsed: Parsed, name: str, kind: pa.DataType) -> pa.Array:
    column = parsed.columns.get(name)
    return pa.nulls(len(parsed), kind) if column is None else column


def _mask(booleans: pa.Array) -> Mask:
    mask: Mask = booleans.to_numpy(zero_copy_only=False)
    return mask
