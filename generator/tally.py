"""Counts from several threads, and the report that they add up to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from generator.events import Event, FeatureEvent, Message


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that Kafka acknowledged. `event` is None, and `flaw` says why, when it is bad."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    event: Event | None
    message_id: str
    flaw: str = ""
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class PartitionCount:
    """What happened to one partition's messages. A failed one may be in the log or not: its answer was lost."""

    topic: str
    partition: int
    sent: int
    acknowledged: int
    failed: int


@dataclass(frozen=True, slots=True)
class UploadResult:
    """One uploaded file, of `good` and `bad` rows, and what the gateway said of it.

    `way` is one of `FILE_WAYS`; `resumed_at` says from which byte on a cut one was sent the second time. `events` are its
    rows in order, None for a bad one; they are not part of the JSON.
    """

    name: str
    kind: str
    way: str
    upload_id: str
    state: str
    rows: int
    rejected: int
    error: str
    good: int
    bad: int
    resumed_at: int = 0
    events: Iterable[FeatureEvent | None] = ()

    @property
    def ok(self) -> bool:
        """Say whether all of the file was taken, and exactly the bad rows were refused."""
        return not self.error and self.state == "DONE" and (self.rows, self.rejected) == (self.good, self.bad)


@dataclass(frozen=True, slots=True)
class FileCount:
    """What happened to the files of one kind. Rows are those of files that are DONE: stored, and in quarantine."""

    kind: str
    sent: int
    done: int
    rows: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was sent and what became of it. Counts of kinds are of acknowledged messages."""

    seconds: float
    partitions: tuple[PartitionCount, ...]
    bad: dict[str, int]
    late: int
    duplicates: int
    out_of_order: int
    uploads: tuple[UploadResult, ...]
    rebuilt_producers: int
    errors: dict[str, int]

    @property
    def sent(self) -> int:
        """Return the messages given to Kafka's client."""
        return sum(partition.sent for partition in self.partitions)

    @property
    def acknowledged(self) -> int:
        """Return the messages that Kafka has for sure."""
        return sum(partition.acknowledged for partition in self.partitions)

    @property
    def failed(self) -> int:
        """Return the messages that were given up."""
        return sum(partition.failed for partition in self.partitions)

    @property
    def rate(self) -> float:
        """Return acknowledged messages a second."""
        return self.acknowledged / self.seconds if self.seconds else 0.0

    @property
    def ok(self) -> bool:
        """Say whether everything was acknowledged and every file taken."""
        return self.acknowledged == self.sent and all(upload.ok for upload in self.uploads)

    @property
    def files(self) -> tuple[FileCount, ...]:
        """Return counts of files by kind."""
        kinds = sorted({upload.kind for upload in self.uploads})
        return tuple(_count(kind, [upload for upload in self.uploads if upload.kind == kind]) for kind in kinds)

    def as_json(self) -> dict[str, Any]:
        """Return the report without the events."""
        content = asdict(replace(self, uploads=tuple(replace(upload, events=()) for upload in self.uploads)))
        for upload, result in zip(content["uploads"], self.uploads, strict=True):
            upload["ok"] = result.ok
            del upload["events"]
        totals = {"ok": self.ok, "sent": self.sent, "acknowledged": self.acknowledged, "failed": self.failed}
        files = {count.kind: asdict(count) for count in self.files}
        return {**totals, "rate": round(self.rate, 1), "files": files, **content}


def _count(kind: str, uploads: Sequence[UploadResult]) -> FileCount:
    done = [upload for upload in uploads if upload.state == "DONE"]
    rows, rejected = sum(upload.rows for upload in done), sum(upload.rejected for upload in done)
    return FileCount(kind, len(uploads), len(done), rows, rejected)


class Tally:
    """Shared by the producers' and the uploader's threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._sent: Counter[tuple[str, int]] = Counter()
        self._acknowledged: Counter[tuple[str, int]] = Counter()
        self._failed: Counter[tuple[str, int]] = Counter()
        self._bad: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._uploads: list[UploadResult] = []
        self._rebuilt = 0

    def sent(self, topic: str, partition: int) -> None:
        """Count a message given to Kafka's client."""
        with self._lock:
            self._sent[topic, partition] += 1

    def acknowledged(self, message: Message, partition: int) -> None:
        """Count a message that Kafka has."""
        with self._lock:
            self._acknowledged[message.topic, partition] += 1
            self._kinds["late"] += message.late
            self._kinds["duplicate"] += message.duplicate
            self._kinds["out_of_order"] += message.out_of_order
            if message.flaw:
                self._bad[message.flaw] += 1

    def failed(self, topic: str, partition: int, error: str) -> None:
        """Count a message that was given up, and why."""
        with self._lock:
            self._failed[topic, partition] += 1
            self._errors[error] += 1

    def rebuilt(self) -> None:
        """Count a Kafka client that had to be replaced."""
        with self._lock:
            self._rebuilt += 1

    def uploaded(self, result: UploadResult) -> None:
        """Keep what became of a file."""
        with self._lock:
            self._uploads.append(result)

    def report(self) -> Report:
        """Return how things are now."""
        with self._lock:
            return Report(
                seconds=round(time.monotonic() - self._began, 3),
                partitions=tuple(
                    PartitionCount(*key, self._sent[key], self._acknowledged[key], self._failed[key])
                    for key in sorted(self._sent)
                ),
                bad=dict(sorted(self._bad.items())),
                late=self._kinds["late"],
                duplicates=self._kinds["duplicate"],
                out_of_order=self._kinds["out_of_order"],
                uploads=tuple(self._uploads),
                rebuilt_producers=self._rebuilt,
                errors=dict(self._errors),
            )
