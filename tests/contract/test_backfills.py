"""What a chunk of a backfill may replace: the twin and DuckDB are held to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import NotFound, Refused, RetryLater
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState
from cluster.records import Batch, Origin
from cluster.stores.duckdb import DuckStore
from cluster.stores.memory_offline import MemoryOfflineStore
from cluster.stores.ports import Upload, UploadState
from tests.batches import EPOCH_US, Row, make_batch, row_at, stream_batch

#: kind, registry version, position, feature, value
Fact = tuple[str, int, int, str, float | None]

STREAM = Origin.stream("events", 0, 1)
PART = BackfillPart("events", 0, 0, 10, 0, 0)
KEY = PART.key
ASKED = Backfill("b1", "activity", "events", ("clicks",), 2, EPOCH_US + 2, EPOCH_US + 8, (PART,), holder="g1")


@dataclass
class Subject:
    """A store, and what it holds: rows that reads see, and rows that were superseded."""

    store: MemoryOfflineStore | DuckStore
    rows: Callable[[], list[Fact]]
    superseded: Callable[[], list[Fact]]


def in_memory(_: Path) -> Iterator[Subject]:
    store = MemoryOfflineStore(count(EPOCH_US).__next__, 0.1)

    def facts(found: Any) -> list[Fact]:
        return sorted((str(o.kind), o.registry_version, r["position"], r["feature_name"], r["value"]) for o, r in found)

    def superseded() -> list[Fact]:
        gone = store.backfills.superseded
        return facts((o, r) for o, r in store.backfills._all_rows() if (o, r["position"], r["feature_name"]) in gone)

    yield Subject(store, lambda: facts(store.backfills.rows()), superseded)


def in_duckdb(folder: Path) -> Iterator[Subject]:
    store = DuckStore(OfflineStoreConfig(path=str(folder / "f.duckdb"), group_commit_ms=0), count(EPOCH_US).__next__, 0.1)
    cursor = store.database.cursor()

    def facts(table: str) -> list[Fact]:
        columns = "kind, registry_version, position, feature_name, value"
        return sorted(cursor.execute(f"SELECT {columns} FROM {table} JOIN sources USING (source_id)").fetchall())

    yield Subject(store, lambda: facts("features"), lambda: facts("superseded"))
    cursor.close()
    store.close()


@pytest.fixture(params=[in_memory, in_duckdb])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """A store with ten records of version 1; 4 was rejected, each of the others has `clicks` and, of another view, `views`."""
    found: Iterator[Subject] = request.param(tmp_path)
    subject = next(found)
    subject.store.open_partition("events", 0, 0)
    rows = [row for p in range(10) if p != 4 for row in (row_at(p), another(p))]
    subject.store.commit(make_batch(STREAM, 1, (0, 10), rows, rejected=[4]))
    yield subject
    next(found, None)


def another(position: int, name: str = "views", value: float = 0.0) -> Row:
    entity, _, _, event, created, _ = row_at(position)
    return entity, name, value, event, created, position


def chunk(span: tuple[int, int], positions: list[int], *, by: Backfill = ASKED, rejected: tuple[int, ...] = ()) -> Batch:
    """Return a chunk whose rows have ten times the value."""
    rows = [another(p, "clicks", p * 10.0) for p in positions]
    return make_batch(by.origin(by.parts[0]), 0, span, rows, rejected=rejected)


def of_stream(positions: list[int], version: int = 1) -> list[Fact]:
    return [("stream", version, p, "clicks", float(p)) for p in positions]


def recomputed(positions: list[int], version: int = 2) -> list[Fact]:
    return [("backfill", version, p, "clicks", p * 10.0) for p in positions]


def of_file(subject: Subject, rows: list[int], rejected: list[int]) -> Backfill:
    """Let a file come in under version 1; return a backfill that reads it."""
    origin = Origin.upload("up", 1)
    subject.store.begin_upload(Upload("up", "key", "f.csv", "events", "csv", "aa", 1, UploadState.RECEIVING))
    subject.store.open_upload("up", origin)
    subject.store.append_upload("up", 0, make_batch(origin, 0, (0, 6), [row_at(p) for p in rows], rejected=rejected))
    subject.store.commit_upload("up", 1)
    return replace(ASKED, backfill_id="b2", parts=(PART, BackfillPart("", 0, 0, 6, 0, 0, upload_id="up")))


def test_a_file_is_a_share_beside_partitions(subject: Subject) -> None:
    """Positions 2 and 3 are in both: each place has its own."""
    by = of_file(subject, [0, 1, 2, 3, 5], [4])
    assert subject.store.open_backfill(by).parts == by.parts
    _, part = by.parts
    assert subject.store.backfill_positions("b2", part.key, 0, 6).tolist() == [2, 3, 5]
    rows = [another(p, "clicks", p * 10.0) for p in (2, 3, 4)]
    done = subject.store.commit_backfill("b2", make_batch(by.origin(part), 0, (0, 6), rows, rejected=[5]))
    assert done.parts == (PART, replace(part, next=6, events=2, rows=2, superseded=3, rejected=1, open=1))
    of_the_file = [("upload", 1, p, "clicks", float(p)) for p in range(6)]
    assert subject.superseded() == [of_the_file[p] for p in (2, 3, 5)]
    assert clicks(subject) == recomputed([2, 3]) + of_stream([0, 1, 2, 3, 5, 6, 7, 8, 9]) + of_the_file[:2]
    found = subject.store.backfill_changes("b2", part.key)
    assert [row["position"] for row in found.newest.to_pylist()] != []
    assert subject.store.publish_backfill("b2", part.key, 6).parts[1].published == 6
    assert subject.store.unpublished_backfills() == []
    assert subject.store.commit_backfill("b2", chunk((0, 6), [2], by=by)).parts[0].superseded == 1


def clicks(subject: Subject) -> list[Fact]:
    return [fact for fact in subject.rows() if fact[3] == "clicks"]


def test_a_chunk_replaces_what_older_definitions_made(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    done = subject.store.commit_backfill("b1", chunk((0, 6), [2, 3]))
    assert clicks(subject) == recomputed([2, 3]) + of_stream([0, 1, 5, 6, 7, 8, 9])
    assert subject.superseded() == of_stream([2, 3])
    assert done.parts == (replace(PART, next=6, events=2, rows=2, superseded=2),)


def test_rows_of_other_views_stay(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    before = [fact for fact in subject.rows() if fact[3] == "views"]
    subject.store.commit_backfill("b1", chunk((0, 10), [2, 3, 5, 6, 7]))
    assert [fact for fact in subject.rows() if fact[3] == "views"] == before


def test_a_record_that_is_rejected_now_has_no_value_any_more(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    done = subject.store.commit_backfill("b1", chunk((0, 10), [2], rejected=(3, 5)))
    assert clicks(subject) == recomputed([2]) + of_stream([0, 1, 6, 7, 8, 9])
    assert subject.superseded() == of_stream([2, 3, 5])
    assert (done.parts[0].events, done.parts[0].rejected, done.parts[0].superseded) == (1, 2, 3)


def test_an_open_reject_is_left_to_a_replay(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    done = subject.store.commit_backfill("b1", chunk((0, 10), [3, 4]))
    assert (done.parts[0].events, done.parts[0].open) == (1, 1)
    assert clicks(subject) == recomputed([3]) + of_stream([0, 1, 2, 5, 6, 7, 8, 9])
    replayed = make_batch(STREAM.replayed_under(2), 0, (4, 5), [row_at(4)])
    assert subject.store.commit_replay("r1", STREAM, replayed) == 1


def test_a_replayed_reject_is_recomputed_like_any_other(subject: Subject) -> None:
    subject.store.commit_replay("r1", STREAM, make_batch(STREAM.replayed_under(1), 0, (4, 5), [row_at(4)]))
    subject.store.open_backfill(ASKED)
    assert subject.store.backfill_positions("b1", KEY, 3, 6).tolist() == [3, 4, 5]
    subject.store.commit_backfill("b1", chunk((0, 10), [4]))
    assert subject.superseded() == [("replay", 1, 4, "clicks", 4.0)]
    assert recomputed([4])[0] in subject.rows()


def test_rows_of_the_same_or_newer_definitions_stay(subject: Subject) -> None:
    subject.store.commit(stream_batch(1, 10, 12, version=2))
    subject.store.commit(stream_batch(1, 12, 14, version=3))
    asked = replace(ASKED, parts=(replace(PART, end=14),))
    subject.store.open_backfill(asked)
    done = subject.store.commit_backfill("b1", chunk((0, 14), [9, 10, 11, 12, 13], by=asked))
    assert (done.parts[0].events, done.parts[0].superseded) == (1, 1)
    assert subject.superseded() == of_stream([9])


def test_a_feature_that_is_new_in_the_view_is_added(subject: Subject) -> None:
    asked = replace(ASKED, features=("clicks", "speed"))
    subject.store.open_backfill(asked)
    rows = [another(2, "clicks", 20.0), another(2, "speed", 7.0)]
    subject.store.commit_backfill("b1", make_batch(asked.origin(PART), 0, (0, 5), rows))
    assert ("backfill", 2, 2, "speed", 7.0) in subject.rows()
    assert subject.superseded() == of_stream([2])


def test_the_same_again_adds_nothing(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 10), [2, 3, 5]))
    before = subject.rows(), subject.superseded()
    again = subject.store.commit_backfill("b1", chunk((0, 10), [2, 3, 5]))
    assert again.parts[0].events == 3, "a repeat of a chunk is answered and not counted twice"
    subject.store.end_backfill("b1", BackfillState.DONE)
    second = replace(ASKED, backfill_id="b2")
    assert subject.store.open_backfill(second).backfill_id == "b2"
    done = subject.store.commit_backfill("b2", chunk((0, 10), [2, 3, 5], by=second))
    assert (done.parts[0].rows, done.parts[0].superseded, done.parts[0].rejected) == (0, 0, 0)
    assert (subject.rows(), subject.superseded()) == before


def test_newer_definitions_replace_what_a_backfill_made(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 10), [2, 3]))
    newer = replace(ASKED, backfill_id="b3", registry_version=3)
    subject.store.open_backfill(newer)
    subject.store.commit_backfill("b3", chunk((0, 10), [3, 5], by=newer))
    assert clicks(subject) == sorted(recomputed([2]) + recomputed([3, 5], 3) + of_stream([0, 1, 6, 7, 8, 9]))
    assert subject.superseded() == sorted(recomputed([3]) + of_stream([2, 3, 5]))


def test_positions_are_those_with_older_rows_in_the_range(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    assert subject.store.backfill_positions("b1", KEY, 0, 10).tolist() == [2, 3, 5, 6, 7]
    subject.store.commit_backfill("b1", chunk((0, 10), [3]))
    assert subject.store.backfill_positions("b1", KEY, 0, 6).tolist() == [2, 5]


def test_a_chunk_continues_the_one_before(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    with pytest.raises(Refused, match="goes beyond"):
        subject.store.commit_backfill("b1", chunk((0, 11), [2]))
    with pytest.raises(RetryLater, match="does not follow"):
        subject.store.commit_backfill("b1", chunk((1, 5), [2]))
    subject.store.commit_backfill("b1", chunk((0, 5), [2]))
    with pytest.raises(RetryLater, match="does not follow"):
        subject.store.commit_backfill("b1", chunk((3, 8), [3]))
    assert subject.superseded() == of_stream([2])


def test_one_that_was_stopped_takes_no_more_and_goes_on_where_it_was(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 5), [2]))
    assert subject.store.end_backfill("b1", BackfillState.STOPPED, "why").note == "why"
    with pytest.raises(Refused, match="is STOPPED"):
        subject.store.commit_backfill("b1", chunk((5, 10), [5]))
    again = subject.store.open_backfill(replace(ASKED, backfill_id="b9", holder="g2"))
    assert (again.backfill_id, again.state, again.holder, again.parts[0].next) == ("b1", BackfillState.RUNNING, "g2", 5)
    subject.store.commit_backfill("b1", chunk((5, 10), [5]))
    assert subject.superseded() == of_stream([2, 5])


def test_one_that_runs_is_not_started_twice(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    with pytest.raises(Refused, match="raytide backfill cancel b1"):
        subject.store.open_backfill(replace(ASKED, backfill_id="b2"))
    for changed in ({"registry_version": 3}, {"until_us": EPOCH_US}, {"view": "other"}):
        other = replace(ASKED, backfill_id=f"b{changed}", **changed)
        assert subject.store.open_backfill(other).backfill_id == other.backfill_id


def test_foreign_chunks_are_refused(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    wrong = [STREAM, ASKED.origin(replace(PART, incarnation=1)), replace(ASKED, registry_version=1).origin(PART)]
    for origin in (*wrong, ASKED.origin(replace(PART, partition=1))):
        with pytest.raises(Refused, match="fault of its sender"):
            subject.store.commit_backfill("b1", make_batch(origin, 0, (0, 5), [row_at(2)]))
    with pytest.raises(NotFound):
        subject.store.commit_backfill("b8", chunk((0, 5), [2]))
    with pytest.raises(NotFound):
        subject.store.get_backfill("b8")


def rows_of(table: pa.Table) -> list[tuple[str, str, float | None, int]]:
    columns = ("entity_id", "feature_name", "value", "position")
    return [tuple(row[name] for name in columns) for row in table.to_pylist()]


def test_changes_are_the_newest_of_what_came_and_nothing_is_gone(subject: Subject) -> None:
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 8), [2, 3, 5, 6, 7]))
    found = subject.store.backfill_changes("b1", KEY)
    assert rows_of(found.gone) == []
    assert rows_of(found.newest) == [
        ("user_0", "clicks", 60.0, 6),
        ("user_1", "clicks", 70.0, 7),
        ("user_2", "clicks", 50.0, 5),
    ]
    assert [b.backfill_id for b in subject.store.unpublished_backfills()] == ["b1"]
    assert subject.store.publish_backfill("b1", KEY, 8).parts[0].published == 8
    assert subject.store.unpublished_backfills() == []
    assert rows_of(subject.store.backfill_changes("b1", KEY).newest) == []


def test_a_value_that_is_gone_is_named_with_what_is_newest_now(subject: Subject) -> None:
    """Position 9 is the newest of user_0 and fails now: 6 is the newest, and was not even part of the chunk."""
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 8), [2]))
    subject.store.publish_backfill("b1", KEY, 8)
    subject.store.commit_backfill("b1", chunk((8, 10), [], rejected=(9,)))
    found = subject.store.backfill_changes("b1", KEY)
    assert rows_of(found.gone) == [("user_0", "clicks", 9.0, 9)]
    assert rows_of(found.newest) == [("user_0", "clicks", 6.0, 6)]


def test_backfills_are_listed_newest_first(subject: Subject) -> None:
    for number in range(3):
        subject.store.open_backfill(replace(ASKED, backfill_id=f"b{number}", since_us=number))
    assert [b.backfill_id for b in subject.store.list_backfills(2)] == ["b2", "b1"]
    known = subject.store.get_backfill("b1")
    assert replace(known, created_at=0, updated_at=0) == replace(ASKED, backfill_id="b1", since_us=1)


def test_uploads_and_replays_publish_only_what_is_left(subject: Subject) -> None:
    subject.store.commit_replay("r1", STREAM, make_batch(STREAM.replayed_under(1), 0, (4, 5), [row_at(4)]))
    subject.store.open_backfill(ASKED)
    subject.store.commit_backfill("b1", chunk((0, 10), [4]))
    assert list(subject.store.replay_newest("r1", ["clicks"])) == []
