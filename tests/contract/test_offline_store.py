from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Fenced, Gap, NotFound, Refused
from cluster.records import Batch, Origin, PartitionStart, SourceKind
from cluster.stores.duckdb import DuckStore
from cluster.stores.memory_offline import MemoryOfflineStore
from cluster.stores.ports import Definitions, Upload, UploadState
from tests.batches import EPOCH_US, Row, make_batch, row_at, stream_batch

Where = tuple[str | None, int | None, str | None]  # topic, partition, upload
Fact = tuple[Where, int, str]  # and position, feature name or reason
Range = tuple[Where, int, int, int, int, int]  # first, next, epoch, events, rejected

PATIENCE_S = 0.2
UPLOAD = Upload("u1", "key-1", "orders.csv", "orders", "csv", "aa", 10, UploadState.RECEIVING)
FILE = Origin.upload("u1", 1)


@dataclass
class Subject:
    """A store, and a view of what is durable in it."""

    store: MemoryOfflineStore | DuckStore
    rows: Callable[[], list[Fact]]
    rejects: Callable[[], list[Fact]]
    ledger: Callable[[], list[Range]]


def in_memory(_: Path) -> Iterator[Subject]:
    store = MemoryOfflineStore(count(EPOCH_US).__next__, PATIENCE_S)

    def batches() -> list[Batch]:
        return [*store._batches(), *store.replays.values()]

    def ledger() -> list[Range]:
        streams = [*(b for group in store.committed.values() for b in group), *store.replays.values()]
        ranges = [(where(b.origin), b.first, b.next, b.epoch, b.events, len(b.rejects)) for b in streams]
        for upload_id in store.files:
            upload = store.get_upload(upload_id)
            counts = upload.rows, upload.rejected
            ranges.append(((None, None, upload_id), 0, sum(counts), 0, *counts))
        return ranges

    yield Subject(
        store,
        lambda: in_order((where(b.origin), r["position"], r["feature_name"]) for b in batches() for r in b.rows.to_pylist()),
        lambda: in_order((where(b.origin), r["position"], r["reason"]) for b in batches() for r in b.rejects.to_pylist()),
        ledger,
    )


def in_duckdb(folder: Path) -> Iterator[Subject]:
    config = OfflineStoreConfig(path=str(folder / "features.duckdb"), group_commit_ms=1)
    store = DuckStore(config, count(EPOCH_US).__next__, PATIENCE_S)
    cursor = store.database.cursor()

    def facts(columns: str, table: str) -> list[tuple[object, ...]]:
        query = f'SELECT topic, "partition", upload_id, {columns} FROM {table} JOIN sources USING (source_id)'
        return [((a, b, c), *rest) for a, b, c, *rest in cursor.execute(f"{query} ORDER BY ALL").fetchall()]

    yield Subject(
        store,
        lambda: facts("position, feature_name", "features"),  # type: ignore[arg-type,return-value] # columns as asked for
        lambda: facts("position, reason", "quarantine"),  # type: ignore[arg-type,return-value]
        lambda: facts("first_position, next_position, epoch, events, rejected", "batches"),  # type: ignore[arg-type,return-value]
    )
    cursor.close()
    store.close()


@pytest.fixture(params=[in_memory, in_duckdb])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    yield from request.param(tmp_path)


def in_order(facts: Iterable[Fact]) -> list[Fact]:
    return sorted(facts, key=lambda fact: (str(fact[0]), *fact[1:]))


def where(origin: Origin) -> Where:
    return origin.topic, origin.partition, origin.upload_id


def test_a_new_partition_starts_at_its_beginning(subject: Subject) -> None:
    assert subject.store.open_partition("events", 0, 7) == PartitionStart(1, 7)


def test_a_known_partition_continues_under_a_new_epoch(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 5))
    assert subject.store.open_partition("events", 0, 2) == PartitionStart(2, 5)


def test_a_batch_is_stored_whole(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 4, rejected=[2]))
    stream = ("events", 0, None)
    assert subject.rows() == [(stream, p, "clicks") for p in (0, 1, 3)]
    assert subject.rejects() == [(stream, 2, "missing_field")]
    assert subject.ledger() == [(stream, 0, 4, 1, 3, 1)]


def test_a_repeat_is_done_and_not_doubled(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    for batch in (stream_batch(1, 0, 3), stream_batch(1, 3, 6), stream_batch(1, 0, 3), stream_batch(1, 3, 6)):
        subject.store.commit(batch)
    assert [position for _, position, _ in subject.rows()] == list(range(6))


def test_batches_may_arrive_out_of_order(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    with ThreadPoolExecutor(3) as senders:
        waiting = [senders.submit(subject.store.commit, stream_batch(1, f, f + 2)) for f in (4, 2, 0)]
        for future in waiting:
            future.result()
    assert [position for _, position, _ in subject.rows()] == list(range(6))


def test_a_batch_whose_predecessor_never_comes_is_a_gap(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    with pytest.raises(Gap) as gap:
        subject.store.commit(stream_batch(1, 3, 5))
    assert (gap.value.first, gap.value.expected) == (3, 0)
    assert subject.rows() == []


@pytest.mark.parametrize("span", [(0, 3), (1, 4), (2, 6), (0, 6)])
def test_an_overlap_is_a_gap(subject: Subject, span: tuple[int, int]) -> None:
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 4))
    with pytest.raises(Gap):
        subject.store.commit(stream_batch(1, *span))
    assert len(subject.rows()) == 4


def test_an_older_epoch_is_fenced_even_for_what_it_committed(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 2))
    subject.store.open_partition("events", 0, 0)
    for batch in (stream_batch(1, 0, 2), stream_batch(1, 2, 4)):
        with pytest.raises(Fenced):
            subject.store.commit(batch)
    subject.store.commit(stream_batch(2, 2, 4))
    assert [position for _, position, _ in subject.rows()] == list(range(4))


def test_a_waiting_batch_is_fenced_when_its_partition_is_opened_again(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    with ThreadPoolExecutor(1) as zombie:
        waiting = zombie.submit(subject.store.commit, stream_batch(1, 2, 4))
        subject.store.open_partition("events", 0, 0)
        with pytest.raises(Fenced):
            waiting.result()


@pytest.mark.parametrize(
    "batch",
    [
        stream_batch(1, 0, 2, partition=9),
        stream_batch(5, 0, 2),
        stream_batch(1, 2, 2),
        make_batch(FILE, 0, (0, 2)),
        replace(stream_batch(1, 0, 2), next=1),
        replace(stream_batch(1, 0, 2), rows=stream_batch(1, 0, 2).rows.drop_columns(["value"])),
    ],
    ids=["never opened", "epoch never given", "no positions", "a file", "too many records", "wrong columns"],
)
def test_an_impossible_batch_is_refused(subject: Subject, batch: Batch) -> None:
    subject.store.open_partition("events", 0, 0)
    with pytest.raises(Refused):
        subject.store.commit(batch)
    assert subject.rows() == []


def test_partitions_do_not_wait_for_each_other(subject: Subject) -> None:
    for partition in (0, 1):
        subject.store.open_partition("events", partition, 0)
    with ThreadPoolExecutor(1) as sender:
        blocked = sender.submit(subject.store.commit, stream_batch(1, 2, 4))
        subject.store.commit(stream_batch(1, 0, 2, partition=1))
        with pytest.raises(Gap):
            blocked.result()


def test_rows_under_another_registry_version_continue_the_same_ledger(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 2, version=1))
    subject.store.commit(stream_batch(1, 2, 4, version=2))
    assert [position for _, position, _ in subject.rows()] == list(range(4))


def definitions(content: str, shipped: bytes = b"code") -> Definitions:
    return Definitions(content, {"n": 1}, shipped, "someone", "a comment")


def test_registering_the_newest_content_again_keeps_its_version(subject: Subject) -> None:
    versions = [subject.store.register(definitions(content)) for content in ("a", "a", "b", "a")]
    assert versions == [1, 1, 2, 3]


def test_the_version_in_force_comes_with_the_bytes_that_were_registered_last(subject: Subject) -> None:
    assert subject.store.in_force(0) is None
    for content, shipped in (("a", b"one"), ("b", b"two"), ("b", b"three")):
        subject.store.register(definitions(content, shipped))
    assert subject.store.in_force(0) == subject.store.in_force(1) == (2, b"three")
    assert subject.store.in_force(2) is None
    assert subject.store.shipped(1) == b"one"


def test_a_version_that_there_is_not_has_no_code(subject: Subject) -> None:
    with pytest.raises(NotFound, match="no registry version 1"):
        subject.store.shipped(1)


def test_an_upload_is_known_by_its_key(subject: Subject) -> None:
    begun = subject.store.begin_upload(UPLOAD)
    again = subject.store.begin_upload(replace(UPLOAD, upload_id="u2"))
    assert again == begun == subject.store.get_upload("u1")
    assert begun.created_at >= EPOCH_US
    with pytest.raises(NotFound):
        subject.store.get_upload("u2")


def test_a_key_stands_for_one_content(subject: Subject) -> None:
    subject.store.begin_upload(UPLOAD)
    with pytest.raises(Refused, match="key-1"):
        subject.store.begin_upload(replace(UPLOAD, upload_id="u2", sha256="bb"))


def test_a_failed_upload_may_begin_again(subject: Subject) -> None:
    subject.store.begin_upload(UPLOAD)
    failed = subject.store.set_upload_state("u1", UploadState.FAILED, "no header")
    assert (failed.state, failed.error) == (UploadState.FAILED, "no header")
    again = subject.store.begin_upload(replace(UPLOAD, upload_id="u2"))
    assert (again.upload_id, again.state, again.error) == ("u1", UploadState.RECEIVING, "")


@pytest.mark.parametrize("end", [UploadState.FAILED, UploadState.CANCELLED])
def test_an_upload_that_ended_is_left_alone_until_it_begins_again(subject: Subject, end: UploadState) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    ended = subject.store.set_upload_state("u1", end)
    assert subject.store.set_upload_state("u1", end) == ended
    others = set(UploadState) - {end}
    for state in others:
        with pytest.raises(Refused, match="u1"):
            subject.store.set_upload_state("u1", state)
    with pytest.raises(Refused, match="it ended"):
        subject.store.open_upload("u1", FILE)
    with pytest.raises(Refused, match="open it again"):
        subject.store.commit_upload("u1", 1)
    assert (subject.rows(), subject.rejects()) == ([], [])
    assert subject.store.begin_upload(UPLOAD).state is UploadState.RECEIVING
    subject.store.open_upload("u1", FILE)
    append(subject, 0, 0, 2)
    assert subject.store.commit_upload("u1", 1).rows == 2


def test_a_stored_file_is_not_cancelled(subject: Subject) -> None:
    begin_file(subject)
    subject.store.commit_upload("u1", 0)
    with pytest.raises(Refused, match="its rows are in history"):
        subject.store.set_upload_state("u1", UploadState.CANCELLED)
    assert subject.store.get_upload("u1").state is UploadState.COMMITTED


def test_uploads_are_listed_newest_first(subject: Subject) -> None:
    for n in range(3):
        subject.store.begin_upload(replace(UPLOAD, upload_id=f"u{n}", idempotency_key=f"k{n}"))
    assert [u.upload_id for u in subject.store.list_uploads(2)] == ["u2", "u1"]


def test_an_unknown_upload_is_not_found(subject: Subject) -> None:
    calls: list[Callable[[], object]] = [
        lambda: subject.store.get_upload("x"),
        lambda: subject.store.set_upload_state("x", UploadState.STORED),
        lambda: subject.store.open_upload("x", FILE),
        lambda: subject.store.append_upload("x", 0, make_batch(FILE, 0, (0, 1))),
        lambda: subject.store.commit_upload("x", 0),
    ]
    for call in calls:
        with pytest.raises(NotFound, match="'x'"):
            call()


def begin_file(subject: Subject) -> None:
    subject.store.begin_upload(UPLOAD)
    subject.store.open_upload("u1", FILE)


def append(subject: Subject, piece: int, first: int, following: int, rejected: tuple[int, ...] = ()) -> None:
    subject.store.append_upload("u1", piece, make_batch(FILE, 0, (first, following), rejected=rejected))


def test_a_file_becomes_visible_at_once_and_whole(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 1, 3, 6, rejected=(4,))
    append(subject, 0, 0, 3)
    assert subject.store.get_upload("u1").state is UploadState.PROCESSING
    assert subject.rows() == []
    done = subject.store.commit_upload("u1", 2)
    assert (done.state, done.rows, done.rejected) == (UploadState.COMMITTED, 5, 1)
    file = (None, None, "u1")
    assert subject.rows() == [(file, p, "clicks") for p in (0, 1, 2, 3, 5)]
    assert subject.rejects() == [(file, 4, "missing_field")]
    assert subject.ledger() == [(file, 0, 6, 0, 5, 1)]


def test_a_repeated_piece_is_skipped(subject: Subject) -> None:
    begin_file(subject)
    for _ in range(2):
        append(subject, 0, 0, 3)
    assert subject.store.commit_upload("u1", 1).rows == 3
    assert len(subject.rows()) == 3


def test_a_file_commits_once(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    done = subject.store.commit_upload("u1", 1)
    assert subject.store.commit_upload("u1", 1) == done
    assert len(subject.ledger()) == 1


def test_a_missing_piece_stops_the_commit_and_can_still_come(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    with pytest.raises(Refused, match="1 of 2 pieces"):
        subject.store.commit_upload("u1", 2)
    append(subject, 1, 3, 4)
    assert subject.store.commit_upload("u1", 2).rows == 4


def test_pieces_with_the_same_rows_are_refused(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    append(subject, 1, 2, 4)
    with pytest.raises(Refused, match="same rows"):
        subject.store.commit_upload("u1", 2)


def test_opening_again_forgets_what_was_appended(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    subject.store.open_upload("u1", FILE)
    append(subject, 0, 0, 2)
    assert subject.store.commit_upload("u1", 1).rows == 2
    assert len(subject.rows()) == 2


@pytest.mark.parametrize("end", ["abort", "fail"])
def test_an_ended_transaction_takes_nothing_more(subject: Subject, end: str) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    if end == "abort":
        subject.store.abort_upload("u1")
    else:
        subject.store.set_upload_state("u1", UploadState.FAILED, "cancelled")
    with pytest.raises(Refused, match="open it again"):
        append(subject, 1, 3, 4)
    with pytest.raises(Refused, match="open it again"):
        subject.store.commit_upload("u1", 1)
    assert subject.rows() == []


def test_a_piece_made_under_other_definitions_is_refused(subject: Subject) -> None:
    begin_file(subject)
    with pytest.raises(Refused, match="registry version"):
        subject.store.append_upload("u1", 0, make_batch(Origin.upload("u1", 2), 0, (0, 1)))


def test_a_file_without_rows_can_be_committed(subject: Subject) -> None:
    begin_file(subject)
    assert subject.store.commit_upload("u1", 0).state is UploadState.COMMITTED


def test_states_beside_an_open_transaction_do_not_break_its_commit(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 3)
    subject.store.set_upload_state("u1", UploadState.PROCESSING, "a note")
    other = subject.store.begin_upload(replace(UPLOAD, upload_id="u2", idempotency_key="k2"))
    subject.store.set_upload_state(other.upload_id, UploadState.STORED)
    assert subject.store.commit_upload("u1", 1).state is UploadState.COMMITTED


def test_history_cannot_be_taken_back(subject: Subject) -> None:
    begin_file(subject)
    with pytest.raises(Refused, match="commit_upload"):
        subject.store.set_upload_state("u1", UploadState.DONE)
    subject.store.commit_upload("u1", 0)
    for state in (UploadState.FAILED, UploadState.RECEIVING, UploadState.PROCESSING):
        with pytest.raises(Refused, match="history"):
            subject.store.set_upload_state("u1", state)
    with pytest.raises(Refused, match="history"):
        subject.store.open_upload("u1", FILE)
    for _ in range(2):
        assert subject.store.set_upload_state("u1", UploadState.DONE).state is UploadState.DONE


def test_streams_commit_beside_an_open_file(subject: Subject) -> None:
    subject.store.open_partition("events", 0, 0)
    begin_file(subject)
    append(subject, 0, 0, 3)
    subject.store.commit(stream_batch(1, 0, 2))
    assert [w for w, _, _ in subject.rows()] == [("events", 0, None)] * 2
    subject.store.commit_upload("u1", 1)
    assert len(subject.rows()) == 5


def test_the_newest_rows_of_a_file_follow_event_time_then_creation_then_position(subject: Subject) -> None:
    rows: list[Row] = [
        ("a", "clicks", 1.0, EPOCH_US + 5, EPOCH_US, 0),
        ("a", "clicks", 2.0, EPOCH_US + 4, EPOCH_US + 9, 1),
        ("b", "clicks", 3.0, EPOCH_US, EPOCH_US + 1, 2),
        ("b", "clicks", None, EPOCH_US, EPOCH_US + 1, 3),
        ("c", "clicks", 5.0, EPOCH_US, EPOCH_US + 2, 4),
        ("c", "clicks", 6.0, EPOCH_US, EPOCH_US + 1, 5),
        ("c", "hidden", 7.0, EPOCH_US, EPOCH_US + 1, 6),
    ]
    begin_file(subject)
    subject.store.append_upload("u1", 0, make_batch(FILE, 0, (0, 7), rows))
    with pytest.raises(Refused, match="not in history"):
        subject.store.upload_newest("u1", ["clicks"])
    subject.store.commit_upload("u1", 1)
    tables = list(subject.store.upload_newest("u1", ["clicks", "unknown"]))
    schemas = {str(t.schema) for t in tables}
    assert schemas == {str(make_batch(FILE, 0, (0, 1)).rows.schema)}
    newest = sorted((r["entity_id"], r["value"], r["position"]) for t in tables for r in t.to_pylist())
    assert newest == [("a", 1.0, 0), ("b", None, 3), ("c", 5.0, 4)]
    assert list(subject.store.upload_newest("u1", ["unknown"])) == []


def test_origins_of_other_kinds_have_no_ledger_of_offsets(subject: Subject) -> None:
    replay = Origin(SourceKind.REPLAY, 1, upload_id="u1")
    with pytest.raises(Refused, match="replay"):
        subject.store.commit(make_batch(replay, 1, (0, 1)))


STREAM = Origin.stream("events", 0, 1)
PLACE = ("events", 0, None)


def rejecting(subject: Subject) -> None:
    """Ten records of a stream; 2, 3, 5 and 7 are rejected."""
    subject.store.open_partition("events", 0, 0)
    subject.store.commit(stream_batch(1, 0, 10, rejected=[2, 3, 5, 7]))


def replay_of(*positions: int, of: Origin = STREAM, version: int = 2) -> Batch:
    rows = [row_at(p) for p in positions]
    return make_batch(of.replayed_under(version), 0, (positions[0], positions[-1] + 1), rows)


def replayed(subject: Subject, place: Where = PLACE) -> list[int]:
    """Return the positions that have rows although they were rejected."""
    rejected = {position for where_, position, _ in subject.rejects() if where_ == place}
    return sorted(position for where_, position, _ in subject.rows() if where_ == place and position in rejected)


def test_a_replay_stores_rows_marks_rejects_and_has_a_place_in_the_ledger(subject: Subject) -> None:
    rejecting(subject)
    assert subject.store.commit_replay("r1", STREAM, replay_of(3, 7)) == 2
    assert replayed(subject) == [3, 7]
    assert len(subject.rejects()) == 4, "quarantine keeps them"
    assert sorted(subject.ledger()) == [(PLACE, 0, 10, 1, 6, 4), (PLACE, 3, 8, 0, 2, 0)]


def test_the_same_replay_again_gets_the_same_answer(subject: Subject) -> None:
    rejecting(subject)
    for _ in range(2):
        assert subject.store.commit_replay("r1", STREAM, replay_of(3, 7)) == 2
    assert replayed(subject) == [3, 7]


def test_nothing_is_replayed_twice(subject: Subject) -> None:
    rejecting(subject)
    assert subject.store.commit_replay("r1", STREAM, replay_of(3, 5)) == 2
    assert subject.store.commit_replay("r2", STREAM, replay_of(3, 5, 7, version=3)) == 1
    assert subject.store.commit_replay("r3", STREAM, replay_of(5, 7)) == 0
    assert replayed(subject) == [3, 5, 7]
    assert subject.store.unpublished_replays() == ["r1", "r2"]


def test_what_was_not_rejected_is_not_replayed(subject: Subject) -> None:
    rejecting(subject)
    assert subject.store.commit_replay("r1", STREAM, replay_of(4, 5)) == 1
    assert subject.store.commit_replay("r2", STREAM, replay_of(4)) == 0
    assert replayed(subject) == [5]
    assert len(subject.rows()) == 7
    with pytest.raises(NotFound):
        subject.store.commit_replay("r3", Origin.stream("events", 1, 1), replay_of(5, of=Origin.stream("events", 1, 1)))


@pytest.mark.parametrize(
    "batch",
    [
        stream_batch(1, 0, 2),
        replay_of(3, of=Origin.stream("events", 1, 1)),
        replay_of(3, of=FILE),
        make_batch(STREAM.replayed_under(2), 0, (0, 4), [row_at(3)], rejected=[2]),
        make_batch(STREAM.replayed_under(2), 0, (3, 3), [row_at(3)]),
    ],
)
def test_an_impossible_replay_is_refused(subject: Subject, batch: Batch) -> None:
    rejecting(subject)
    with pytest.raises(Refused):
        subject.store.commit_replay("r1", STREAM, batch)
    assert replayed(subject) == []


def test_rows_of_a_file_are_replayed_as_well(subject: Subject) -> None:
    begin_file(subject)
    append(subject, 0, 0, 5, rejected=(1, 4))
    subject.store.commit_upload("u1", 1)
    assert subject.store.commit_replay("r1", FILE, replay_of(4, of=FILE)) == 1
    assert replayed(subject, (None, None, "u1")) == [4]
    upload = subject.store.get_upload("u1")
    assert (upload.rows, upload.rejected) == (3, 2), "what became of the file itself does not change"


def test_a_replay_waits_until_its_newest_rows_are_online(subject: Subject) -> None:
    rejecting(subject)
    rows: list[Row] = [
        ("a", "clicks", 1.0, EPOCH_US + 5, EPOCH_US, 2),
        ("a", "clicks", 2.0, EPOCH_US + 9, EPOCH_US, 3),
        ("a", "hidden", 9.0, EPOCH_US + 9, EPOCH_US, 3),
        ("b", "clicks", None, EPOCH_US, EPOCH_US, 5),
    ]
    subject.store.commit_replay("r1", STREAM, make_batch(STREAM.replayed_under(2), 0, (2, 6), rows))
    newest = [r for t in subject.store.replay_newest("r1", ["clicks"]) for r in t.to_pylist()]
    assert sorted((r["entity_id"], r["value"], r["position"]) for r in newest) == [("a", 2.0, 3), ("b", None, 5)]
    assert subject.store.unpublished_replays() == ["r1"]
    for _ in range(2):
        subject.store.finish_replay("r1")
    assert subject.store.unpublished_replays() == []
    with pytest.raises(NotFound):
        subject.store.replay_newest("r9", ["clicks"])


def test_two_replays_at_once_take_each_reject_once(subject: Subject) -> None:
    rejecting(subject)
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda n: subject.store.commit_replay(f"r{n}", STREAM, replay_of(2, 3, 5, 7)), range(4))
        assert sorted(done) == [0, 0, 0, 4]
    assert replayed(subject) == [2, 3, 5, 7]
