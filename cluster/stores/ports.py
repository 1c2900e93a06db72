"""What the path needs from the outside. A port is met by a client in this folder, by a twin, or by an actor handle.

All methods block. They raise `RetryLater` (or `Unreachable`) when trying again makes sense, another `RaytideError`
otherwise; nothing of a client library's errors comes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest.backfills import Backfill, BackfillState, Changes, PartKey
from cluster.ingest.resets import Reset
from cluster.records import Batch, Origin, PartitionStart, Records
from cluster.windows.ports import CellsRead, WindowStore

if TYPE_CHECKING:  # panes are made of aggregations, whose package needs these ports
    from cluster.windows.panes import Pane


class RecordSource(Protocol):
    """One partition of a topic, read in order from an offset. Caller: one partition actor, one thread."""

    def seek(self, offset: int) -> None:
        """Read next from `offset`."""

    def poll(self, timeout_s: float) -> Records | None:
        """Return up to a batch of records, or None when none came in time.

        Every record comes from the topic that `identity` named last: one that was made anew meanwhile is noticed before
        any of its records is returned. Raise Unreachable when the brokers or the topic are away, Lost when the offset or
        that topic no longer exists.
        """

    def identity(self) -> str | None:
        """Return Kafka's id of the topic, another for each topic of the same name; None if the broker has none.

        Raise Unreachable when the brokers are away or there is no such topic or partition.
        """

    def check(self) -> None:
        """Raise as `poll` does when the topic is gone or another one by now."""

    def beginning(self) -> int:
        """Return the first offset that still exists."""

    def end(self) -> int:
        """Return the offset after the last record; raise Unreachable when the brokers are away."""

    def commit(self, next_offset: int) -> None:
        """Tell the group how far the stores are. For lag tools only; a failure is not an error of the path."""

    def close(self) -> None:
        """Let go of the connection."""


class DeadLetters(Protocol):
    """Where the rejects of one partition go besides quarantine. Caller: one partition actor, one thread at a time."""

    @property
    def trouble(self) -> str:
        """Return why rejects are in quarantine only, and what to do about it; empty when all is well."""

    def send(self, batch: Batch) -> None:
        """Return when every reject of `batch` is acknowledged; doing it again repeats them.

        Raise RetryLater when the other side is away. What only a person can mend is told in `trouble` and raises
        nothing: the rejects are in quarantine in any case.
        """

    def close(self) -> None:
        """Let go of the connection."""


class NoDeadLetters:
    """Meets DeadLetters where none are wanted."""

    trouble = ""

    def send(self, batch: Batch) -> None:
        """Leave them to the quarantine."""

    def close(self) -> None:
        """Have nothing to let go of."""


@dataclass(frozen=True, slots=True)
class OnlineValues:
    """The answer to an online read, as matrices `[feature, entity]` in the order asked for.

    `found` is False where Redis holds nothing for the pair. A found value of NaN in `values` is a stored null: `null`
    says so. Times are µs, 0 where not found.
    """

    values: NDArray[np.float64]
    null: NDArray[np.bool_]
    found: NDArray[np.bool_]
    event_timestamps: NDArray[np.int64]
    created_at: NDArray[np.int64]


class OnlineStore(Protocol):
    """The newest value for each (entity, feature)."""

    @property
    def windows(self) -> WindowStore:
        """Return the cells of windows."""

    def write(self, rows: pa.Table) -> int:
        """Let each row (schema ROWS_SCHEMA) replace what is stored unless that is newer; return how many did.

        Order is (event_timestamp, created_at); equal or newer replaces, and rows count in table order. Atomic for
        each entity against any number of other writers. Repeating a call is harmless.
        """

    def read(self, entity_ids: Sequence[str], features: Sequence[str], silence_s: float | None = None) -> OnlineValues:
        """Return what is stored for every pair, in one round trip.

        The store may stay silent for `silence_s`, or for its own time limit.
        """

    def read_with_windows(
        self, entity_ids: Sequence[str], features: Sequence[str], panes: Sequence[Pane], silence_s: float | None = None
    ) -> tuple[OnlineValues, CellsRead]:
        """Return what `read` and `windows.read` do, in one round trip for both."""

    def retract(self, rows: pa.Table) -> int:
        """Remove the values whose times are exactly those of `rows` (schema ROWS_SCHEMA); return how many there were.

        One step for each value. Repeating a call is harmless.
        """

    def entities(self, batch: int = 1000) -> Iterator[list[str]]:
        """Return all entity ids that have values, in lists of about `batch`; for verify."""

    def marker(self) -> str | None:
        """Return the text of the marker, which is lost with everything else when the store is emptied."""

    def mark(self, text: str) -> None:
        """Set the marker, whatever it was."""

    def remark(self, old: str, new: str) -> bool:
        """Set the marker to `new` if it still is `old`, in one step; return whether it is `new` now."""

    def ping(self) -> None:
        """Return when the store answers; raise Unreachable when it does not."""

    def close(self) -> None:
        """Let go of the connection."""


class UploadState(StrEnum):
    """How far a file got. Each step can be done again."""

    RECEIVING = "RECEIVING"
    STORED = "STORED"
    PROCESSING = "PROCESSING"
    COMMITTED = "COMMITTED"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Upload:
    """One file, as the `uploads` table knows it; `original_kept` is what its gateway adds. Times are µs."""

    upload_id: str
    idempotency_key: str
    name: str
    source: str
    format: str
    sha256: str
    bytes: int
    state: UploadState
    rows: int = 0  # records of the file that passed validation
    rejected: int = 0
    error: str = ""
    created_at: int = 0
    updated_at: int = 0
    original_kept: bool = False


@dataclass(frozen=True, slots=True)
class Definitions:
    """What somebody applies. `definition` is `Catalog.describe()`, `shipped` what `loader.to_bytes` made of the catalog."""

    content_hash: str
    definition: Mapping[str, Any]
    shipped: bytes
    applied_by: str
    comment: str = ""


class Shipped(NamedTuple):
    """A registry version with what `loader.from_bytes` takes."""

    version: int
    definitions: bytes


class OfflineStore(Protocol):
    """History, ledger, quarantine and uploads: what the writer owns.

    Caller: partition actors (`open_partition`, `commit`), the upload service (`*upload*`), the service of dead letters
    (`*replay*`), the gateway (reads).
    Every method can be called again after a lost answer.
    """

    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None = None) -> PartitionStart:
        """Take a new epoch for a partition; older epochs are fenced from then on.

        A partition never seen starts at `beginning`, one known where its ledger ends. Raise Lost when `topic_id`, if the
        broker has one, is not that of the topic which the ledger is about.
        """

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """Let a partition go on at another offset, under a new epoch, and declare what lies before it as lost.

        Epoch, offset, the range's place in the ledger and the declaration are one transaction. Doing it again is harmless.
        Raise Refused when the target does not exist or lies in history, NotFound when the partition was never opened.
        """

    def commit(self, batch: Batch) -> None:
        """Store rows, rejects, ledger row, next offset and epoch in one transaction; return when it is durable.

        A batch that is already in the ledger under the same epoch is done, not doubled. Raise Fenced for an old
        epoch, Gap when `first` is not where the ledger ends.
        """

    def register(self, definitions: Definitions) -> int:
        """Return the registry version of this content, a new one if it differs from the newest. That one is in force."""

    def in_force(self, after: int) -> Shipped | None:
        """Return the version in force if it is later than `after`, else None."""

    def shipped(self, version: int) -> bytes:
        """Return what was applied as `version`; raise NotFound when there is none, or its code was not kept."""

    def begin_upload(self, upload: Upload) -> Upload:
        """Record an upload, or return the one already known under the same idempotency key (and sha256).

        One that is FAILED or CANCELLED is RECEIVING from then on: nothing else takes it out of that state. Raise Refused
        when the key is known with another sha256.
        """

    def set_upload_state(self, upload_id: str, state: UploadState, error: str = "") -> Upload:
        """Move an upload to `state`; raise Refused when it is in history, or FAILED or CANCELLED, and that says otherwise."""

    def open_upload(self, upload_id: str, origin: Origin) -> None:
        """Start the file's transaction; what was appended to an earlier one of this upload is gone."""

    def append_upload(self, upload_id: str, piece: int, batch: Batch) -> None:
        """Add a piece to the file's transaction; a piece that is already in it is skipped."""

    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        """Make the file's `pieces` durable with state COMMITTED, in one transaction; done twice is done once."""

    def abort_upload(self, upload_id: str) -> None:
        """Forget the file's transaction."""

    def upload_newest(self, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """Return the newest row of each (entity, feature) of a committed upload, for the online store."""

    def commit_replay(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """Store rows of rejects of `of` and mark these as replayed, in one transaction; return how many there were.

        `batch` has the origin `of.replayed_under(...)`, the positions of the rejects and no rejects of its own. One that
        is marked already is left out, so that none is replayed twice. The same `replay_id` again gets the same answer.
        """

    def unpublished_replays(self) -> list[str]:
        """Return committed replays that nobody has finished, oldest first."""

    def replay_newest(self, replay_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """Return the newest row of each (entity, feature) of a replay, for the online store; raise NotFound."""

    def finish_replay(self, replay_id: str) -> None:
        """Note that the newest values of a replay are online."""

    def get_upload(self, upload_id: str) -> Upload:
        """Return an upload; raise NotFound."""

    def list_uploads(self, limit: int = 100) -> list[Upload]:
        """Return uploads, newest first."""

    def query(self, sql: str, parameters: Sequence[Any] = (), *, max_rows: int | None = None) -> pa.Table:
        """Run a read of ours on a read cursor."""

    def sql(self, statement: str) -> pa.Table:
        """Run a user's read-only statement, without access to files, network or settings; Refused otherwise."""


class BackfillStore(Protocol):
    """The offline store, as backfills see it: what they replace in history, and how far each is.

    Caller: the backfill service and its tasks. Every method can be called again after a lost answer.
    """

    def open_backfill(self, asked: Backfill) -> Backfill:
        """Start a backfill, or let the unfinished one go on that asks for the same; raise Refused while that runs."""

    def backfill_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """Return the positions in `[first, following)` that have older rows of the view in the range, ascending."""

    def commit_backfill(self, backfill_id: str, batch: Batch) -> Backfill:
        """Store the next chunk of a backfill in one transaction; return how far it is.

        `batch` decides about the positions of its rows and its rejects: what history has of them and the view, made under
        older definitions, is superseded, and its rows take their place. What came under the same or newer definitions
        stays, and so do open rejects; `batch`'s own are not stored. A chunk that is in history already is done. Raise
        Refused when the backfill does not run, RetryLater when it is elsewhere.
        """

    def backfill_changes(self, backfill_id: str, key: PartKey) -> Changes:
        """Return what the online store has to learn of the part between its `published` and its `next`."""

    def publish_backfill(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """Note that a part is online up to there."""

    def end_backfill(self, backfill_id: str, state: BackfillState, note: str = "") -> Backfill:
        """Let a backfill that runs be DONE or STOPPED; one that does not run stays as it is."""

    def get_backfill(self, backfill_id: str) -> Backfill:
        """Return a backfill; raise NotFound."""

    def list_backfills(self, limit: int = 100) -> list[Backfill]:
        """Return backfills, newest first."""

    def unpublished_backfills(self) -> list[Backfill]:
        """Return those of which something is in history and not online."""
