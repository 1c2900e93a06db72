"""Backfills of files that are kept: the same as for streams, and what becomes of files that cannot be read any more."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from cluster.backfills.drive import FEWER_ROWS
from cluster.backfills.plan import NOT_DONE, NOT_KEPT
from cluster.backfills.service import CAME_LATER, GATEWAY_ENDED
from cluster.ingest.backfills import BackfillState, PartKey
from cluster.records import Origin
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import FeatureView, Field, StreamSource, Wide, feature
from cluster.stores.ports import Upload, UploadState
from cluster.verify import verify
from tests.backfill_world import FORBIDDEN, NOW, USER, BackfillWorld, definitions
from tests.batches import make_batch

COUNT = 20
#: user, time after NOW in µs, x: two users in turns, in order of time.
EVENTS = [("a" if n % 2 else "b", n * 10, n + 20.0) for n in range(COUNT)]
Facts = dict[int, tuple[float, str, int]]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackfillWorld]:
    world = BackfillWorld(tmp_path)
    yield world
    world.close()


def jsonl(events: list[tuple[str, int, float]] = EVENTS) -> bytes:
    return b"".join(json.dumps({"user_id": user, "at": NOW + at, "x": x}).encode() + b"\n" for user, at, x in events)


def table() -> pa.Table:
    users, times, values = zip(*EVENTS, strict=True)
    return pa.table({"user_id": users, "at": [NOW + at for at in times], "x": values})


def csv() -> bytes:
    out = io.BytesIO()
    pa_csv.write_csv(table(), out)
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pa_parquet.write_table(table(), out, row_group_size=3)
    return out.getvalue()


def old(*rows: int) -> Facts:
    return {row: (EVENTS[row][2], "upload", 1) for row in rows}


def new(*rows: int) -> Facts:
    return {row: (2 * EVENTS[row][2], "backfill", 2) for row in rows}


@pytest.mark.parametrize(("kind", "content"), [("jsonl", jsonl()), ("csv", csv()), ("parquet", parquet())])
def test_rows_of_the_range_are_computed_anew_and_others_stay(world: BackfillWorld, kind: str, content: bytes) -> None:
    upload_id = world.upload(content, kind)
    world.catalog = definitions(2)
    done = world.backfill(30, 120)
    assert world.of_file(upload_id) == new(*range(3, 12)) | old(*range(3), *range(12, COUNT))
    assert world.of_file(upload_id, "superseded") == old(*range(3, 12))
    assert world.of_file(upload_id, feature="x") == old(*range(COUNT)), "another view"
    (part,) = done.backfill.parts
    assert (str(part.key), part.end, part.events, part.superseded, done.left) == (f"upload {upload_id}", COUNT, 9, 9, ())
    world.check()


def test_done_twice_it_adds_nothing(world: BackfillWorld) -> None:
    upload_id = world.upload(jsonl())
    world.catalog = definitions(2)
    world.backfill()
    again = world.backfill().backfill.parts[0]
    assert (again.events, again.rows, again.superseded) == (0, 0, 0)
    assert world.of_file(upload_id) == new(*range(COUNT))
    world.check()


def test_online_ends_at_the_newest_of_files_and_streams(world: BackfillWorld) -> None:
    world.upload(jsonl())
    world.send(("a", 10_000, 50.0))
    world.stream()
    world.catalog = definitions(2)
    world.backfill(0, 1000)
    assert (world.served("a"), world.served("b")) == (50.0, 2 * EVENTS[18][2])
    world.check()


def test_a_source_has_partitions_and_files(world: BackfillWorld) -> None:
    first, second = world.upload(jsonl()), world.upload(csv(), "csv")
    world.send(("c", 10, 7.0))
    world.stream()
    world.catalog = definitions(2)
    done = world.backfill().backfill
    assert [part.key for part in done.parts] == [PartKey("t", 0), *(PartKey(upload_id=u) for u in sorted([first, second]))]
    assert world.of_file(first) == world.of_file(second) == new(*range(COUNT))
    assert world.scores() == {(0, 0): (14.0, "backfill", 2)}
    world.check()


def test_a_row_that_fails_now_loses_its_value_and_a_reject_is_left_to_a_replay(world: BackfillWorld) -> None:
    events = [*EVENTS[:12], ("b", 1000, FORBIDDEN)]
    upload_id = world.upload(jsonl(events) + b"not json\n")
    assert world.served("b") == FORBIDDEN
    world.catalog = definitions(2)
    (part,) = world.backfill().backfill.parts
    assert (part.events, part.rejected, part.end) == (12, 1, 14)
    assert world.of_file(upload_id) == new(*range(12))
    assert world.of_file(upload_id, "superseded")[12] == (FORBIDDEN, "upload", 1)
    assert world.served("b") == 2 * EVENTS[10][2]
    world.check()


@pytest.mark.parametrize("method", ["commit_backfill", "backfill_changes", "publish_backfill"])
@pytest.mark.parametrize("nth", [1, 3, 7])
def test_killed_anywhere_and_started_again_it_ends_right(world: BackfillWorld, method: str, nth: int) -> None:
    upload_id = world.upload(jsonl())
    world.catalog = definitions(2)
    calls = []

    def die(name: str) -> None:
        calls.append(name)
        if calls.count(method) == nth and calls[-1] == method:
            raise SystemExit("killed")

    world.before = die
    with pytest.raises(SystemExit):
        world.crawl(0, 1000)
    world.before = lambda _: None
    world.of_file(upload_id)  # no record has two versions
    world.service().look()
    (left,) = world.store.list_backfills()
    assert (left.state, left.note) == (BackfillState.STOPPED, GATEWAY_ENDED)
    world.check()
    # The next gateway may cut files into other pieces.
    world.uploads = world.gateway_of_files(str(world.uploads.originals._spool._folder), piece_bytes=333)
    done = world.backfill(0, 1000).backfill
    assert (done.backfill_id, done.state) == (left.backfill_id, BackfillState.DONE)
    assert world.of_file(upload_id) == new(*range(COUNT))
    assert done.parts[0].rows == COUNT
    world.check()


def test_a_file_that_is_kept_no_more_stays_and_is_told(world: BackfillWorld) -> None:
    upload_id = world.upload(jsonl())
    world.uploads.originals._spool.remove(upload_id)
    world.catalog = definitions(2)
    done = world.backfill(10, 50)
    assert [(left.place, left.records, left.why) for left in done.left] == [(f"upload {upload_id}", 4, NOT_KEPT)]
    assert world.of_file(upload_id) == old(*range(COUNT))
    world.check()


def test_a_file_that_is_removed_before_it_is_read_is_told_at_the_end(world: BackfillWorld) -> None:
    upload_id, other = world.upload(jsonl()), world.upload(csv(), "csv")
    world.catalog = definitions(2)
    told = world.service().run(world.asked(10, 50))
    assert next(told).left == ()
    world.uploads.originals._spool.remove(upload_id)
    *_, last = told
    (left,) = last.left
    assert (left.place, left.records, last.backfill.state) == (f"upload {upload_id}", 4, BackfillState.DONE)
    assert "not kept here any more" in left.why
    assert (world.of_file(upload_id)[1], world.of_file(other)[1]) == (old(1)[1], new(1)[1])
    world.check()


def test_a_kept_file_that_lost_its_end_is_told(world: BackfillWorld) -> None:
    upload_id = world.upload(jsonl())
    world.uploads.originals._spool.path(upload_id).write_bytes(jsonl(EVENTS[:5]))
    world.catalog = definitions(2)
    done = world.backfill()
    assert [(left.place, left.records, left.why) for left in done.left] == [(f"upload {upload_id}", COUNT - 5, FEWER_ROWS)]
    assert world.of_file(upload_id) == new(*range(5)) | old(*range(5, COUNT))
    world.check()


def needing_more(version: int) -> Catalog:
    """Return definitions whose source has a column that the files do not have."""
    source = StreamSource("events", "t", Wide("user_id", "at", (Field("x"), Field("y")), timestamp_unit="us"))

    @feature(name="score")
    def scaled(x: float, y: float) -> float:
        return x * y

    return build("p", [FeatureView("scores", USER, source, [scaled])]).registered_as(version)


def test_a_file_that_these_definitions_cannot_read_stays_and_is_told(world: BackfillWorld) -> None:
    upload_id = world.upload(csv(), "csv")
    world.catalog = needing_more(2)
    done = world.backfill()
    (left,) = done.left
    assert (left.place, left.records, done.backfill.state) == (f"upload {upload_id}", COUNT, BackfillState.DONE)
    assert "'y'" in left.why
    assert world.of_file(upload_id) == old(*range(COUNT))


def test_a_file_that_is_not_done_is_told(world: BackfillWorld) -> None:
    world.store.begin_upload(Upload("up", "k", "f.csv", "events", "csv", "aa", 1, UploadState.RECEIVING))
    world.store.open_upload("up", Origin.upload("up", 1))
    rows = [("e", "score", 1.0, NOW + at, NOW, at) for at in range(3)]
    world.store.append_upload("up", 0, make_batch(Origin.upload("up", 1), 0, (0, 3), rows))
    world.store.commit_upload("up", 1)
    world.catalog = definitions(2)
    done = world.backfill(1, 1000)
    assert [(left.place, left.records, left.why) for left in done.left] == [("upload up", 2, NOT_DONE)]


def test_one_that_goes_on_tells_of_files_that_came_since(world: BackfillWorld) -> None:
    first = world.upload(jsonl())
    world.catalog = definitions(2)
    told = world.service().run(world.asked())
    next(told)
    told.close()
    world.catalog = definitions(1)
    late = world.upload(csv(), "csv")
    world.catalog = definitions(2)
    done = world.backfill()
    assert [(left.place, left.why) for left in done.left] == [(f"upload {late}", CAME_LATER)]
    assert (world.of_file(first), world.of_file(late)) == (new(*range(COUNT)), old(*range(COUNT)))
    again = world.backfill()
    assert (again.left, world.of_file(late)) == ((), new(*range(COUNT)))
    world.check()


def test_a_cancelled_one_stops_between_two_chunks(world: BackfillWorld) -> None:
    upload_id = world.upload(jsonl())
    world.catalog = definitions(2)

    def cancel(name: str) -> None:
        if name == "publish_backfill":
            world.service().cancel(world.store.list_backfills()[0].backfill_id)

    world.before = cancel
    stopped = world.backfill().backfill
    assert stopped.state is BackfillState.STOPPED
    assert world.of_file(upload_id) == new(*range(3)) | old(*range(3, COUNT)), "chunks have three records"
    world.before = lambda _: None
    assert world.backfill().backfill == replace(world.store.get_backfill(stopped.backfill_id), state=BackfillState.DONE), (
        "the same one"
    )
    assert world.of_file(upload_id) == new(*range(COUNT))


def test_two_versions_of_a_row_of_a_file_are_found(world: BackfillWorld) -> None:
    upload_id = world.upload(jsonl())
    world.catalog = definitions(2)
    world.backfill(30, 120)
    cursor = world.store.database.cursor()
    cursor.execute("INSERT INTO features SELECT * EXCLUDE (superseded_by, superseded_at) FROM superseded WHERE position = 4")
    cursor.close()
    report = verify(world.reads, world.online, world.catalog, dict, patience_s=0)
    wrong = {check.name: check.examples for check in report.checks if check.offenders}
    (told,) = wrong["backfilled records are read under one version"]
    assert told.startswith(f"upload {upload_id}: position 4 has score from source_id")
