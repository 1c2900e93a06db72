"""The write half of the offline store in dictionaries: the twin that tests use and that says what DuckDB must do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.errors import Fenced, Gap, NotFound, Refused
from cluster.ingest.backfills import Backfill, BackfillState, Changes, PartKey
from cluster.ingest.ledger import Partition, check_batch, partition_of
from cluster.ingest.resets import Abandoned, Reset, TopicLives, check_identity, empty_batches, never_opened, plan
from cluster.records import ROWS_SCHEMA, Batch, Origin, PartitionStart
from cluster.stores.memory_backfills import MemoryBackfills
from cluster.stores.ports import Definitions, Shipped, Upload, UploadState
from cluster.stores.replay_rules import check_replay, limited_to
from cluster.stores.upload_rules import (
    AFTER_COMMIT,
    BROKEN_OFF,
    check_complete,
    check_move,
    check_same_file,
    no_transaction,
    other_origin,
)


@dataclass(slots=True)
class _File:
    origin: Origin
    pieces: dict[int, Batch] = field(default_factory=dict)


class MemoryOfflineStore:
    """Keeps committed batches in lists. Any thread; `committed` and `files` may be read by tests."""

    def __init__(self, now_us: Callable[[], int], patience_s: float = 5.0) -> None:
        self.committed: dict[Partition, list[Batch]] = {}
        self.files: dict[str, list[Batch]] = {}
        self.replays: dict[str, Batch] = {}
        self._replayed: set[tuple[Origin, int]] = set()
        self._unpublished: list[str] = []
        self.abandoned: dict[Partition, list[Abandoned]] = {}
        self._starts: dict[Partition, PartitionStart] = {}
        self._topics: dict[tuple[str, int], str] = {}
        self._versions: list[Definitions] = []
        self._uploads: dict[str, Upload] = {}
        self._open: dict[str, _File] = {}
        self._now_us, self._patience_s = now_us, patience_s
        self._changed = threading.Condition(threading.RLock())
        self.backfills = MemoryBackfills(lambda: [*self._batches(), *self.replays.values()], self._is_open, now_us)

    def open_partition(self, topic: str, partition: int, beginning: int, topic_id: str | None = None) -> PartitionStart:
        """See OfflineStore."""
        with self._changed:
            key, lives = (topic, partition), self._lives(topic)
            known = self._starts.get(key)
            if known is None:
                known = PartitionStart(0, beginning, lives.new_partition(topic_id))
            check_identity(key, known, lives, topic_id)
            self._remember(topic, known.incarnation, topic_id)
            self.committed.setdefault(key, [])
            return self._begin(key, replace(known, epoch=known.epoch + 1))

    def reset_partition(self, reset: Reset) -> PartitionStart:
        """See OfflineStore."""
        key = reset.topic, reset.partition
        with self._changed:
            if (known := self._starts.get(key)) is None:
                raise never_opened(reset)
            decided = plan(reset, known, self._lives(reset.topic))
            self._remember(reset.topic, decided.start.incarnation, reset.topic_id)
            self.abandoned.setdefault(key, []).extend(decided.abandoned)
            self.committed[key] += empty_batches(reset, decided)
            return self._begin(key, decided.start)

    def commit(self, batch: Batch) -> None:
        """See OfflineStore. A batch out of order waits for the one before it."""
        check_batch(batch)
        key = partition_of(batch)
        with self._changed:
            self._changed.wait_for(lambda: not self._may_wait(key, batch), self._patience_s)
            start = self._current(key, batch)
            if any(self._same(batch, done) for done in self.committed[key]):
                return
            if batch.first != start.next_offset:
                raise Gap(*key, batch.first, start.next_offset)
            self.committed[key].append(batch)
            self._starts[key] = replace(start, next_offset=batch.next)
            self._changed.notify_all()

    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""
        with self._changed:
            if self._versions and self._versions[-1].content_hash == definitions.content_hash:
                self._versions[-1] = definitions
            else:
                self._versions.append(definitions)
            return len(self._versions)

    def in_force(self, after: int) -> Shipped | None:
        """See OfflineStore."""
        with self._changed:
            newest = len(self._versions)
            return Shipped(newest, self._versions[-1].shipped) if newest > after else None

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        with self._changed:
            if not 1 <= version <= len(self._versions):
                raise NotFound(f"there is no registry version {version}")
            return self._versions[version - 1].shipped

    def begin_upload(self, upload: Upload) -> Upload:
        """See OfflineStore."""
        with self._changed:
            known = next((u for u in self._uploads.values() if u.idempotency_key == upload.idempotency_key), None)
            if known is None:
                now = self._now_us()
                return self._keep(replace(upload, rows=0, rejected=0, error="", created_at=now, updated_at=now))
            check_same_file(known, upload)
            if known.state in BROKEN_OFF:
                return self._change(known, state=UploadState.RECEIVING, error="")
            return known

    def set_upload_state(self, upload_id: str, state: UploadState, error: str = "") -> Upload:
        """See OfflineStore."""
        with self._changed:
            known = self.get_upload(upload_id)
            check_move(known, state)
            if state is not UploadState.PROCESSING:
                self._open.pop(upload_id, None)
            elif upload_id in self._open:
                return known
            return known if (known.state, known.error) == (state, error) else self._change(known, state=state, error=error)

    def open_upload(self, upload_id: str, origin: Origin) -> None:
        """See OfflineStore."""
        with self._changed:
            self.set_upload_state(upload_id, UploadState.PROCESSING)
            self._open[upload_id] = _File(origin)

    def append_upload(self, upload_id: str, piece: int, batch: Batch) -> None:
        """See OfflineStore."""
        check_batch(batch)
        with self._changed:
            self.get_upload(upload_id)
            opened = self._open.get(upload_id)
            if opened is None:
                raise no_transaction(upload_id)
            if batch.origin != opened.origin:
                raise other_origin(upload_id)
            opened.pieces.setdefault(piece, batch)

    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        """See OfflineStore."""
        with self._changed:
            known = self.get_upload(upload_id)
            if known.state in AFTER_COMMIT:
                return known
            opened = self._open.get(upload_id)
            if opened is None:
                raise no_transaction(upload_id)
            batches = list(opened.pieces.values())
            check_complete(upload_id, [(b.first, b.next) for b in batches], pieces)
            del self._open[upload_id]
            self.files[upload_id] = batches
            rows, rejected = sum(b.events for b in batches), sum(b.rejects.num_rows for b in batches)
            return self._change(known, state=UploadState.COMMITTED, rows=rows, rejected=rejected)

    def abort_upload(self, upload_id: str) -> None:
        """See OfflineStore."""
        with self._changed:
            self._open.pop(upload_id, None)

    def upload_newest(self, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        if (state := self.get_upload(upload_id).state) not in AFTER_COMMIT:
            raise Refused(f"upload {upload_id} is {state}: its rows are not in history yet")
        return self._newest(self.files[upload_id], features)

    def commit_replay(self, replay_id: str, of: Origin, batch: Batch) -> int:
        """See OfflineStore."""
        check_replay(of, batch)
        with self._changed:
            if replay_id in self.replays:
                return self.replays[replay_id].events
            rejected = {p for b in self._batches() if b.origin == of for p in b.rejects["position"].to_pylist()}
            if not rejected:
                raise NotFound(f"{of} has no rejects: nothing can be replayed")
            asked = rejected & set(batch.rows["position"].to_pylist())
            taken = sorted(p for p in asked if (of, p) not in self._replayed)
            if taken:
                self._replayed |= {(of, p) for p in taken}
                rows, span = limited_to(batch.rows, taken), (taken[0], taken[-1] + 1)
                self.replays[replay_id] = Batch(batch.origin, 0, *span, len(taken), rows, batch.rejects)
                self._unpublished.append(replay_id)
            return len(taken)

    def unpublished_replays(self) -> list[str]:
        """See OfflineStore."""
        with self._changed:
            return list(self._unpublished)

    def replay_newest(self, replay_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        """See OfflineStore."""
        if replay_id not in self.replays:
            raise NotFound(f"no replay is called '{replay_id}'")
        return self._newest([self.replays[replay_id]], features)

    def finish_replay(self, replay_id: str) -> None:
        """See OfflineStore."""
        with self._changed, contextlib.suppress(ValueError):
            self._unpublished.remove(replay_id)

    def open_backfill(self, asked: Backfill) -> Backfill:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.open(asked)

    def backfill_positions(self, backfill_id: str, key: PartKey, first: int, following: int) -> NDArray[np.int64]:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.positions(backfill_id, key, first, following)

    def commit_backfill(self, backfill_id: str, batch: Batch) -> Backfill:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.commit(backfill_id, batch)

    def backfill_changes(self, backfill_id: str, key: PartKey) -> Changes:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.changes(backfill_id, key)

    def publish_backfill(self, backfill_id: str, key: PartKey, up_to: int) -> Backfill:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.published(backfill_id, key, up_to)

    def end_backfill(self, backfill_id: str, state: BackfillState, note: str = "") -> Backfill:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.end(backfill_id, state, note)

    def get_backfill(self, backfill_id: str) -> Backfill:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.get(backfill_id)

    def list_backfills(self, limit: int = 100) -> list[Backfill]:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.newest(limit)

    def unpublished_backfills(self) -> list[Backfill]:
        """See BackfillStore."""
        with self._changed:
            return self.backfills.unpublished()

    def get_upload(self, upload_id: str) -> Upload:
        """See OfflineStore."""
        with self._changed:
            if upload_id not in self._uploads:
                raise NotFound(f"no upload is called '{upload_id}': see `raytide uploads list`")
            return self._uploads[upload_id]

    def list_uploads(self, limit: int = 100) -> list[Upload]:
        """See OfflineStore."""
        with self._changed:
            return sorted(self._uploads.values(), key=lambda u: (u.created_at, u.upload_id), reverse=True)[:limit]

    def _lives(self, topic: str) -> TopicLives:
        return TopicLives({number: topic_id for (name, number), topic_id in self._topics.items() if name == topic})

    def _remember(self, topic: str, incarnation: int, topic_id: str | None) -> None:
        if topic_id is not None:
            self._topics.setdefault((topic, incarnation), topic_id)

    def _begin(self, key: Partition, start: PartitionStart) -> PartitionStart:
        self._starts[key] = start
        self._changed.notify_all()
        return start

    def _batches(self) -> list[Batch]:
        return [batch for group in (*self.committed.values(), *self.files.values()) for batch in group]

    def _is_open(self, origin: Origin, position: int) -> bool:
        """Answer whether a record was rejected, under any version, and never replayed."""
        rejecting = [b.origin for b in self._batches() if position in b.rejects["position"].to_pylist()]
        places = [replace(by, registry_version=origin.registry_version) for by in rejecting]
        return any(
            place == origin and (by, position) not in self._replayed for by, place in zip(rejecting, places, strict=True)
        )

    def _may_wait(self, key: Partition, batch: Batch) -> bool:
        start = self._starts.get(key)
        return start is not None and batch.epoch == start.epoch and batch.first > start.next_offset

    def _current(self, key: Partition, batch: Batch) -> PartitionStart:
        start = self._starts.get(key)
        if start is None:
            raise Refused(f"{key[0]}[{key[1]}] was never opened: call open_partition first")
        if batch.epoch < start.epoch:
            raise Fenced(*key, batch.epoch, start.epoch)
        if batch.epoch > start.epoch:
            raise Refused(f"{key[0]}[{key[1]}]: epoch {batch.epoch} was never given: call open_partition again")
        return start

    @staticmethod
    def _same(batch: Batch, done: Batch) -> bool:
        return (batch.epoch, batch.first, batch.next) == (done.epoch, done.first, done.next)

    def _change(self, known: Upload, **changes: Any) -> Upload:
        return self._keep(replace(known, updated_at=self._now_us(), **changes))

    def _keep(self, upload: Upload) -> Upload:
        self._uploads[upload.upload_id] = upload
        return upload

    def _newest(self, batches: Sequence[Batch], features: Sequence[str]) -> Iterator[pa.Table]:
        spans = [(batch.origin, range(batch.first, batch.next)) for batch in batches]
        found = [row for by, row in self.backfills.rows() if any(by == o and row["position"] in span for o, span in spans)]
        return _newest(found, features)


def _newest(rows: list[dict[str, Any]], features: Sequence[str]) -> Iterator[pa.Table]:
    rows.sort(key=lambda r: (r["event_timestamp"], r["created_at"], r["position"]))
    newest = {(r["entity_id"], r["feature_name"]): r for r in rows if r["feature_name"] in features}
    return iter([pa.Table.from_pylist(list(newest.values()), ROWS_SCHEMA)] if newest else [])
