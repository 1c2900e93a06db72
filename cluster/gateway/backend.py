"""What the services of the gRPC edge need behind them; met by an actor's clients, and by a twin in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from cluster.backfills import Asked, BackfillProgress
from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.ingest.backfills import Backfill
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.resets import ResetAnswer, ResetRequest
from cluster.serving.asof import Terms
from cluster.status import OnlineReport, PartitionReport, Scope, StatusReport
from cluster.stores.ports import OnlineStore, Upload
from cluster.uploads.messages import CheckProgress, UploadHeader, UploadProgress
from cluster.verify.report import Reads


@dataclass(frozen=True, slots=True)
class Read:
    """Which historical read it is, and the registry version that it asks for; 0 reads history as it is."""

    read_id: str
    registry_version: int


class Uploads(Protocol):
    """Takes files. Raises BadFile, Refused, OverLimit, NotFound or RetryLater."""

    def submit(self, header: UploadHeader, chunks: Iterator[bytes], /) -> Iterator[UploadProgress]:
        """Receive a file, then yield its progress until it is DONE, FAILED or CANCELLED.

        Work on a file that was received whole goes on when the iterator is abandoned. What `chunks` raises means that
        the transfer broke off.
        """

    def check(self, header: UploadHeader, chunks: Iterator[bytes], /) -> Iterator[CheckProgress]:
        """Receive a file, and yield what would become of its rows; keep nothing."""

    def get(self, upload_id: str, /) -> Upload:
        """Return an upload; raise NotFound."""

    def listed(self, limit: int, /) -> list[Upload]:
        """Return uploads, newest first."""

    def watch(self, upload_id: str, is_wanted: Callable[[], bool], /) -> Iterator[UploadProgress]:
        """Yield a file's progress until it ends or is not wanted any more; raise NotFound."""

    def cancel(self, upload_id: str, /) -> Upload:
        """Stop a file of which nothing is in history; raise NotFound, or Refused when that is not so."""

    def retry(self, upload_id: str, /) -> Upload:
        """Work on a file that failed or was cancelled again; raise NotFound, or Refused when that is not possible."""


class Offline(Reads, Protocol):
    """The reads of history that need nothing but the writer."""

    def sql(self, statement: str, /) -> pa.Table:
        """Run a user's read-only statement; Refused when it is not one."""


class DeadLetters(Protocol):
    """Rejected records; see cluster.dead_letters. Raises Refused or NotFound, the sentence starting with the filter's name."""

    def listed(self, selection: Selection, limit: int, /) -> tuple[list[DeadLetter], int]:
        """Return the newest of a selection, at most `limit`, and how many there are in all."""

    def in_full(self, place: Place, /) -> DeadLetter:
        """Return one with its payload; raise NotFound."""

    def replay(self, selection: Selection, /) -> Iterator[ReplayProgress]:
        """Send those that are open through the definitions in force; yield how far that is."""

    def try_out(self, selection: Selection, /) -> Iterator[ReplayProgress]:
        """Yield what `replay` would do, and store nothing."""


class Backfills(Protocol):
    """Features of the past; see cluster.backfills. Raises Refused or NotFound, the sentence starting with the argument."""

    def run(self, asked: Asked, /) -> Iterator[BackfillProgress]:
        """Recompute a view's features for a range of event time; yield how far that is. Closing the iterator stops it."""

    def try_out(self, asked: Asked, /) -> Iterator[BackfillProgress]:
        """Yield what `run` would read, and store nothing."""

    def listed(self, limit: int, /) -> list[Backfill]:
        """Return backfills, newest first."""

    def cancel(self, backfill_id: str, /) -> Backfill:
        """Stop a backfill, whoever runs it; raise NotFound."""


class ReadingBackend(Protocol):
    """What reads of features need. Caller: the gateway, from any number of threads. Errors are `cluster.errors`."""

    @property
    def online(self) -> OnlineStore:
        """Return the newest values."""

    @property
    def function_seconds(self) -> float:
        """Return how long a function may take that runs on answers."""

    def catalog(self) -> Catalog:
        """Return the definitions in force."""

    def catalog_of(self, version: int, /) -> Catalog:
        """Return the definitions of a registry version, of those in force for 0; raise NotFound."""

    def historical(self, entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read: Read) -> pa.Table:
        """Join features to `entity_rows` as they were at each row's time; Refused when the rows cannot be joined."""

    def cancel_historical(self, read_id: str, /) -> None:
        """Stop a read of history that nobody waits for any more. Returns at once, and raises nothing."""


class Backend(ReadingBackend, Protocol):
    """What all services need. Caller and errors as above."""

    @property
    def offline(self) -> Offline:
        """Return the history."""

    @property
    def uploads(self) -> Uploads:
        """Return the entrance for files."""

    @property
    def dead_letters(self) -> DeadLetters:
        """Return the rejected records."""

    @property
    def backfills(self) -> Backfills:
        """Return the recomputations of the past."""

    def status(self) -> StatusReport:
        """Say what every part is doing; one that does not answer is shown as away."""

    def verify(self, wait_s: float, scope: Scope, /) -> Mapping[str, Any]:
        """Compare the stores after the streams caught up or `wait_s` passed.

        Return {"ok", "checks": [{"name", "checked", "offenders", "examples"}], "partitions": [{"topic", "partition",
        "first", "next", "end", "behind"}], "declared": [{"topic", "partition", "incarnation", "first", "next", "offsets",
        "reason", "declared_by", "declared_at_us"}]}.
        """

    def resume_partition(self, topic: str, partition: int, allowed_rejects: int, /) -> PartitionReport:
        """Let a HALTED partition go on, and return how it is; the next `allowed_rejects` do not count towards its limit.

        Raise NotFound when there is no such partition, Refused when it is not halted.
        """

    def rebuild_online(self) -> Iterator[OnlineReport]:
        """Ask for the online store to be rebuilt from history; say how far that is, and OK last.

        It goes on when the iterator is abandoned.
        """

    def reset_partition(self, request: ResetRequest, /) -> ResetAnswer:
        """Let a partition go on at another offset; raise NotFound or Refused, the sentence starting with the field's name."""
