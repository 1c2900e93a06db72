"""The nouns that travel on the path: records in, events between, feature rows and batches out.

An offset or row number is called a *position*. `next` always means the next position to read, so `[first, next)`
is what a batch accounts for. Times are UTC microseconds. All types are frozen, hold no client objects, and pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

Headers = tuple[tuple[str, bytes], ...]

#: A feature row as it travels; DuckDB adds `source_id`. `feature_name` is dictionary-encoded: a batch names few features.
ROWS_SCHEMA = pa.schema(
    [
        pa.field("entity_id", pa.string(), nullable=False),
        pa.field("feature_name", pa.dictionary(pa.int16(), pa.string()), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("event_timestamp", pa.timestamp("us"), nullable=False),
        pa.field("created_at", pa.timestamp("us"), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
    ],
)

#: A rejected record as it travels; DuckDB adds `source_id`, `received_at` and `replayed_at`. `headers` is JSON text,
#: a list of [name, base64 of the value]. `record_time` is what `Records.timestamps` says, for a replay.
REJECTS_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("payload", pa.binary()),
        pa.field("key", pa.binary()),
        pa.field("headers", pa.string()),
        pa.field("record_time", pa.timestamp("us")),
    ],
)


class SourceKind(StrEnum):
    """Which entrance a record came through."""

    STREAM = "stream"
    UPLOAD = "upload"
    BACKFILL = "backfill"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a `source_id` stands for: one partition or one upload, under one registry version.

    Or replays of its rejects, or what one backfill made of its records. `incarnation` counts how often a
    partition's offsets began anew, because its topic was deleted and made again.
    """

    kind: SourceKind
    registry_version: int
    topic: str | None = None
    partition: int | None = None
    upload_id: str | None = None
    incarnation: int = 0
    backfill_id: str | None = None

    @classmethod
    def stream(cls, topic: str, partition: int, registry_version: int) -> Origin:
        """Return the origin of records that a partition actor reads."""
        return cls(SourceKind.STREAM, registry_version, topic=topic, partition=partition)

    @classmethod
    def upload(cls, upload_id: str, registry_version: int) -> Origin:
        """Return the origin of rows that came in a file."""
        return cls(SourceKind.UPLOAD, registry_version, upload_id=upload_id)

    def replayed_under(self, registry_version: int) -> Origin:
        """Return the origin of this one's rejects that passed under these definitions after all."""
        return replace(self, kind=SourceKind.REPLAY, registry_version=registry_version)

    def recomputed_by(self, backfill_id: str, registry_version: int) -> Origin:
        """Return the origin of rows that a backfill computed from this one's records."""
        return replace(self, kind=SourceKind.BACKFILL, registry_version=registry_version, backfill_id=backfill_id)


class Reason(StrEnum):
    """Why a record was rejected: the closed list used in quarantine, topic, metrics and docs/formats.md."""

    EMPTY_MESSAGE = "empty_message"
    TOMBSTONE = "tombstone"
    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED_JSON = "malformed_json"
    MALFORMED_ROW = "malformed_row"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_FEATURE = "unknown_feature"
    BAD_ENTITY_ID = "bad_entity_id"
    BAD_TIME = "bad_time"
    TIME_IN_FUTURE = "time_in_future"
    TRANSFORM_FAILED = "transform_failed"
    TRANSFORM_TIMEOUT = "transform_timeout"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that did not pass; a value, never an exception. `detail` names the field, not the data.

    `time_us` is the record's own time, see `Records.timestamps`.
    """

    position: int
    reason: Reason
    detail: str
    payload: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    time_us: int | None = None


class RecordMeta(Protocol):
    """Looks up what only rejected records need, so that good ones never pay for it."""

    def __call__(self, index: int, /) -> tuple[bytes | None, Headers]:
        """Return key and headers of the record at `index` of its `Records`."""


def no_meta(_index: int) -> tuple[bytes | None, Headers]:
    """Answer for records that have neither key nor headers, such as rows of a file."""
    return None, ()


@dataclass(frozen=True, slots=True)
class Records:
    """Raw records in position order, before anyone looked at them.

    `positions`, `values` and `timestamps` have one entry for each record. `timestamps` (µs) are the broker's or
    producer's record times for Kafka and the upload's creation time for files; they are the `created_at` of a source
    that does not map one, so that reading a record again gives the same row. Positions may have gaps (compaction,
    control records); `first` and `next` bound them.
    """

    first: int
    next: int
    positions: NDArray[np.int64]
    values: Sequence[bytes | None]
    timestamps: NDArray[np.int64]
    meta: RecordMeta = field(default=no_meta, compare=False)

    def __len__(self) -> int:
        """Return the number of records, which a gap makes smaller than `next - first`."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Events:
    """Records that passed validation, as columns of equal length in position order.

    For a long source `columns` holds `feature_name` (dictionary) and `value` (float64). For a wide source it holds
    one array for each declared field, named and typed as declared, nulls allowed where the field is optional.
    """

    entity_id: pa.Array
    event_timestamp: pa.Array  # timestamp[us]
    created_at: pa.Array  # timestamp[us]
    position: pa.Array  # int64
    columns: Mapping[str, pa.Array]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.position)


@dataclass(frozen=True, slots=True)
class Batch:
    """Feature rows, rejects, and the range of positions that they account for.

    `events` counts records that passed; `rows` has those that a view takes (schema `ROWS_SCHEMA`), `rejects` the others
    (`REJECTS_SCHEMA`). When the batch is committed, everything below `next` of its origin is accounted for.
    """

    origin: Origin
    epoch: int
    first: int
    next: int
    events: int
    rows: pa.Table
    rejects: pa.Table

    @property
    def nbytes(self) -> int:
        """Return the memory that the columns take, for bounds."""
        return int(self.rows.nbytes + self.rejects.nbytes)


@dataclass(frozen=True, slots=True)
class PartitionStart:
    """What a partition actor gets when it is built: its epoch, and where to read next, in which life of its topic."""

    epoch: int
    next_offset: int
    incarnation: int = 0
