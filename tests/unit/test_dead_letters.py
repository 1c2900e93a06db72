"""Dead letters on a real DuckDB and a Redis in memory: looking, replaying, and a crash at each step of a replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.config import IngestConfig, OfflineStoreConfig
from cluster.dead_letters import DeadLetterService, LocalPartRunner, Place, ReplayProgress, Selection, service
from cluster.dead_letters.chunks import BROKEN, NO_COLUMNS, NO_SOURCE, NO_TIME, NOT_WHOLE, ONLY_A_PART
from cluster.dead_letters.service import NO_ROWS, ONLINE_LATER, Parts
from cluster.errors import NotFound, Refused, RetryLater, Unreachable
from cluster.ingest.batch import rejects_table
from cluster.ingest.merge import newest
from cluster.ingest.pipeline import SourcePlan
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from cluster.records import Headers, Origin, Reason, Records, Rejected
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Long, StreamSource, Wide, feature
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import Upload, UploadState
from cluster.uploads import run_piece
from cluster.verify import verify
from tests.batches import make_batch

HOUR = 3_600_000_000
NOW = 1_800_000_000_000_000
USER = Entity("user", "user_id")
STREAM = StreamSource("events", "t", Long())
FILES = FileSource("files", Long(created_at="known"))


def catalog_of(version: int, *features: str, stream: StreamSource = STREAM) -> Catalog:
    views = [
        FeatureView("v", USER, stream, [Field(name) for name in features], online=True),
        FeatureView("w", USER, FILES, [Field("size", minimum=0)], online=True),
    ]
    return build("p", views).registered_as(version)


OLD, NEW = catalog_of(1, "age"), catalog_of(2, "age", "height")


def record(feature: str, value: Any, at: int = NOW, entity: str = "u", **more: Any) -> bytes:
    return json.dumps({"entity_id": entity, "feature_name": feature, "value": value, "event_timestamp": at, **more}).encode()


class World:
    """A store that outlives services on it; `now` is the time, `catalog` the definitions in force."""

    def __init__(self, folder: Path) -> None:
        self.config = OfflineStoreConfig(path=str(folder / "f.duckdb"), group_commit_ms=0)
        self.store = DuckStore(self.config, count(NOW).__next__)
        self.reads = DuckReads(self.store.database, self.config)
        self.online = MemoryOnlineStore()
        self.catalog, self.now = OLD, NOW
        self.ingest = IngestConfig()
        self.before: Callable[[str], None] = lambda _method: None
        self.after: Callable[[str], None] = lambda _method: None

    def __getattr__(self, name: str) -> Any:
        """Be the writer, with `before` and `after` around each call."""
        method = getattr(self.reads if name == "query" else self.store, name)

        def call(*args: Any, **options: Any) -> Any:
            self.before(name)
            found = method(*args, **options)
            self.after(name)
            return found

        return call

    def service(self) -> DeadLetterService:
        runner = LocalPartRunner(self.ingest, lambda: self.now)
        return DeadLetterService(Parts(self, self.online, lambda: self.catalog, runner, self.ingest))

    def read(self, *values: bytes | None, partition: int = 0, first: int = 0, headers: Headers = ()) -> None:
        """Do what a partition actor does with these messages; message n came at NOW - n."""
        start = self.store.open_partition("t", partition, first)
        positions = np.arange(start.next_offset, start.next_offset + len(values))
        span = int(positions[0]), int(positions[-1]) + 1
        records = Records(*span, positions, values, NOW - positions, lambda index: (f"k{index}".encode(), headers))
        plan = SourcePlan.compile(self.catalog, "events", self.ingest)
        outcome = plan.run(records, self.now)
        if outcome.events:
            self.online.write(newest(outcome.rows))
        self.store.commit(outcome.batch(Origin.stream("t", partition, self.catalog.version), start.epoch, span))

    def upload(self, kind: str, *rejected: Rejected, source: str = "files") -> None:
        upload_id = f"up-{kind}"
        self.store.begin_upload(Upload(upload_id, kind, "f", source, kind, "aa", 1, UploadState.RECEIVING))
        self.store.open_upload(upload_id, Origin.upload(upload_id, 1))
        batch = make_batch(Origin.upload(upload_id, 1), 0, (0, len(rejected)), [])
        self.store.append_upload(upload_id, 0, replace(batch, rejects=rejects_table(rejected)))
        self.store.commit_upload(upload_id, 1)
        self.store.set_upload_state(upload_id, UploadState.DONE)

    def file(self, text: str, folder: Path) -> None:
        """Take a CSV file the way that files come."""
        path = folder / "file.csv"
        path.write_text(text, encoding="utf-8")
        self.store.begin_upload(Upload("up-csv", "csv", "f", "files", "csv", "aa", 1, UploadState.RECEIVING))
        self.store.open_upload("up-csv", Origin.upload("up-csv", self.catalog.version))
        upload = self.store.get_upload("up-csv")
        options = SplitOptions(layout_of(FILES), 8 * 1024 * 1024, self.ingest.max_record_bytes, delimiter=";")
        for piece in split(path, Format.CSV, options):
            run_piece(self.catalog, self.ingest, self.store, upload, piece)  # type: ignore[arg-type] # writes only
        self.store.commit_upload("up-csv", piece.number + 1)
        for table in self.store.upload_newest("up-csv", self.catalog.online_names()):
            self.online.write(table)
        self.store.set_upload_state("up-csv", UploadState.DONE)

    def rows(self) -> list[tuple[Any, ...]]:
        found = self.reads.query(
            """SELECT feature_name, value, position, epoch_us(features.created_at) AS created, kind, registry_version
            FROM features JOIN sources USING (source_id) ORDER BY ALL"""
        )
        return [tuple(row.values()) for row in found.to_pylist()]

    def replay(self, **selection: Any) -> ReplayProgress:
        return list(self.service().replay(Selection(**selection)))[-1]

    def newest(self, feature: str, entity: str = "u") -> float | None:
        answer = self.online.read([entity], [feature])
        return float(answer.values[0][0]) if answer.found[0][0] else None

    def check(self) -> None:
        report = verify(self.reads, self.online, self.catalog, None, patience_s=0)
        assert report.ok, report.to_dict()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_what_other_definitions_let_pass_is_replayed_with_its_own_time_and_position(world: World) -> None:
    world.read(record("height", 1.5), b"{", record("height", 1.7))
    world.catalog = NEW
    done = world.replay()
    assert (done.total, done.seen, done.replayed, done.registry_version) == (3, 3, 2, 2)
    assert done.rejected == {"malformed_json": 1}
    assert world.rows() == [("height", 1.5, 0, NOW, "replay", 2), ("height", 1.7, 2, NOW - 2, "replay", 2)]
    assert world.newest("height") == 1.5, "equal event times: the later message time is the newer one"
    world.check()


def test_time_lets_pass_as_well(world: World) -> None:
    world.read(record("age", 7, NOW + HOUR))
    assert world.replay().rejected == {"time_in_future": 1}
    world.now += HOUR
    assert world.replay().replayed == 1
    assert world.newest("age") == 7
    world.check()


def test_a_second_replay_has_nothing_to_do(world: World) -> None:
    world.read(record("height", 1.5), b"{")
    world.catalog = NEW
    assert world.replay().replayed == 1
    rows, done = world.rows(), world.replay()
    assert (done.total, done.replayed, done.rejected) == (1, 0, {"malformed_json": 1})
    assert world.rows() == rows


def test_a_dry_run_says_the_same_and_stores_nothing(world: World) -> None:
    world.read(record("height", 1.5), b"{")
    world.catalog = NEW
    would = list(world.service().try_out(Selection()))[-1]
    assert world.rows() == []
    assert world.newest("height") is None
    assert would == world.replay()


def test_an_older_value_does_not_replace_a_newer_one_online(world: World) -> None:
    world.read(record("height", 1.5, NOW - 5))
    world.catalog = NEW
    world.read(record("height", 1.6, NOW))
    assert world.replay().replayed == 1
    assert world.newest("height") == 1.6
    world.check()


def test_bounded_parts_do_the_same_as_one(world: World) -> None:
    world.read(*(record("height", float(n)) for n in range(50)))
    world.read(*(record("height", float(n)) for n in range(7)), partition=1)
    world.ingest = IngestConfig(batch_records=8, batch_bytes=500)
    world.catalog = NEW
    steps = list(world.service().replay(Selection()))
    assert [step.seen for step in steps] == sorted(step.seen for step in steps)
    assert max(b.seen - a.seen for a, b in pairwise(steps)) <= 8
    assert (steps[-1].replayed, len(world.rows())) == (57, 57)
    world.check()


def test_a_record_larger_than_a_part_is_a_part_of_its_own(world: World) -> None:
    world.read(*(record("height", 1.0, note="x" * 300) for _ in range(3)))
    world.ingest, world.catalog = IngestConfig(batch_bytes=100), NEW
    assert [step.seen for step in world.service().replay(Selection())] == [0, 1, 2, 3]


def test_what_is_rejected_meanwhile_is_left_for_the_next_replay(world: World) -> None:
    world.read(record("height", 1.0), record("height", 2.0))
    world.ingest, service = IngestConfig(batch_records=1), world.service()
    world.catalog = NEW
    following = service.replay(Selection())
    next(following)
    world.catalog = OLD
    world.read(record("height", 3.0))
    assert list(following)[-1].replayed == 2


def orders_catalog(version: int, limit: float | None) -> Catalog:
    source = StreamSource("events", "t", Wide("user", "at", (Field("amount", maximum=limit), Field("paid", DType.BOOL))))
    paid = feature(name="is_paid")(lambda paid: paid)
    view = FeatureView("orders", USER, source, [Field("amount")], online=True, where=paid)
    return build("p", [view]).registered_as(version)


def test_what_no_view_takes_is_told_and_stays_open(world: World) -> None:
    world.catalog = orders_catalog(1, limit=5)
    world.read(*(json.dumps({"user": "u", "at": NOW, "amount": 9, "paid": paid}).encode() for paid in (True, False, False)))
    world.catalog = orders_catalog(2, limit=None)
    would = list(world.service().try_out(Selection()))[-1]
    assert (would.replayed, would.skipped, would.taken) == (1, {NO_ROWS: 2}, 0)
    assert would == world.replay()
    again = world.replay()
    assert (again.total, again.replayed, again.skipped) == (2, 0, {NO_ROWS: 2})
    world.check()


def test_a_source_that_is_gone_or_renamed(world: World) -> None:
    world.read(record("height", 1.0))
    world.catalog = catalog_of(2, "height", stream=replace(STREAM, topic="elsewhere"))
    assert world.replay().skipped == {NO_SOURCE: 1}
    world.catalog = catalog_of(3, "height", stream=replace(STREAM, name="other"))
    assert world.replay(source="other").replayed == 1


RELAXED = build(
    "p", [FeatureView("w", USER, FILES, [Field("size"), Field("weight")], online=True), NEW.views["v"]]
).registered_as(2)
CSV = """entity_id;note;feature_name;value;event_timestamp;known
a;;size;-1;2020-01-01;
b;"a ""note""; with
a line";size;-2;2020-01-02;2020-02-02
c;;size;3;2020-01-03;
d;;weight;4;2020-01-04;
e;"never closed;size;5;2020-01-05;
f;;size;6
g;;size;seven;2020-01-07;
"""


def test_rows_of_a_csv_file_are_replayed_as_if_the_file_had_come_later(world: World, tmp_path: Path) -> None:
    world.file(CSV, tmp_path)
    assert world.reads.query("SELECT count(*) AS n FROM quarantine")["n"].to_pylist() == [6]
    world.catalog = RELAXED
    done = world.replay(upload_id="up-csv")
    assert (done.replayed, done.rejected, done.skipped) == (3, {"wrong_type": 1}, {BROKEN: 2})
    begun = world.store.get_upload("up-csv").created_at
    known = 1_580_601_600_000_000
    assert [row for row in world.rows() if row[4] == "replay"] == [
        ("size", -2.0, 1, known, "replay", 2),
        ("size", -1.0, 0, begun, "replay", 2),
        ("weight", 4.0, 3, begun, "replay", 2),
    ]
    world.check()
    assert world.replay().replayed == 0


def test_a_csv_file_with_very_many_columns(world: World, tmp_path: Path) -> None:
    header = "entity_id;feature_name;value;event_timestamp;" + ";".join(f"column_{n}" for n in range(500))
    world.file(f"{header}\na;size;-1;2020-01-01{';' * 500}\n", tmp_path)
    world.catalog = RELAXED
    assert world.replay().skipped == {NO_COLUMNS: 1}


def test_json_lines_are_replayed_and_other_rows_say_why_not(world: World) -> None:
    line = record("size", -1)
    world.upload(
        "jsonl",
        Rejected(0, Reason.OUT_OF_RANGE, "", line, time_us=NOW - 3),
        Rejected(1, Reason.TOO_LARGE, "", line[:9]),
        Rejected(2, Reason.OUT_OF_RANGE, "", record("size", -2, known=NOW - 9)),
    )
    world.upload("parquet", Rejected(0, Reason.OUT_OF_RANGE, "", line))
    world.catalog = RELAXED
    done = world.replay(source="files")
    assert (done.total, done.replayed, done.skipped) == (4, 2, {ONLY_A_PART: 1, NOT_WHOLE: 1})
    assert [row[1:4] for row in world.rows()] == [(-2.0, 2, NOW - 9), (-1.0, 0, NOW - 3)]
    world.check()


def test_rejects_whose_time_was_not_kept_are_not_guessed_at(world: World) -> None:
    world.store.open_partition("t", 0, 0)
    rejected = [Rejected(0, Reason.UNKNOWN_FEATURE, "", record("height", 1.0))]
    batch = make_batch(Origin.stream("t", 0, 1), 1, (0, 1), [])
    world.store.commit(replace(batch, rejects=rejects_table(rejected)))
    world.catalog = NEW
    assert world.replay().skipped == {NO_TIME: 1}


# ---- filters


def test_filters_select(world: World) -> None:
    world.read(record("height", 1.0), b"{", None, headers=(("id", b"\xff"),))
    world.read(record("height", 2.0), partition=1)
    world.upload("jsonl", Rejected(0, Reason.OUT_OF_RANGE, "", record("size", -1), time_us=1))
    world.catalog = NEW
    world.replay(place=Place(0, "t", 1))

    def selected(**filters: Any) -> set[str]:
        letters, total = world.service().listed(Selection(**filters), 100)
        assert len(letters) == total
        return {str(letter.place) for letter in letters}

    everything = {"t/0/0", "t/0/1", "t/0/2", "t/1/0", "up-jsonl/0"}
    assert selected() == everything
    assert selected(source="events") == everything - {"up-jsonl/0"}
    assert selected(source="files") == selected(upload_id="up-jsonl") == {"up-jsonl/0"}
    assert selected(reason="tombstone") == {"t/0/2"}
    assert selected(replayed=True) == {"t/1/0"}
    assert selected(replayed=False) == everything - {"t/1/0"}
    assert selected(place=Place(1, "t", 0)) == {"t/0/1"}
    times = {str(x.place): x.received_at for x in world.service().listed(Selection(), 100)[0]}
    assert selected(since_us=times["t/1/0"]) == {"t/1/0", "up-jsonl/0"}
    assert selected(until_us=times["t/1/0"]) == {"t/0/0", "t/0/1", "t/0/2"}
    assert world.service().listed(Selection(), 2)[1] == 5
    assert [str(x.place) for x in world.service().listed(Selection(), 2)[0]] == ["up-jsonl/0", "t/1/0"]


def test_filters_are_values_and_never_statements(world: World) -> None:
    world.read(b"{")
    for text in ("' OR 1=1 --", "'; DROP TABLE quarantine; --"):
        assert world.service().listed(Selection(upload_id=text), 9) == ([], 0)
        assert world.service().listed(Selection(place=Place(0, text, 0)), 9) == ([], 0)
        with pytest.raises(NotFound):
            world.service().listed(Selection(source=text), 9)
    assert world.service().listed(Selection(), 9)[1] == 1


def test_one_in_full(world: World) -> None:
    world.read(b'{"a":\xff}', headers=(("id", b"\x00\x01"),))
    found = world.service().in_full(Place.parse("t/0/0"))
    assert (found.payload, found.key, found.headers) == (b'{"a":\xff}', b"k0", (("id", b"\x00\x01"),))
    assert (found.source, found.reason, found.record_time, found.registry_version) == ("events", "invalid_utf8", NOW, 1)
    with pytest.raises(NotFound, match="t/0/1 was not rejected"):
        world.service().in_full(Place(1, "t", 0))


@pytest.mark.parametrize("place", [Place(12, "a.b", 3), Place(0, upload_id="0af")])
def test_a_place_is_read_as_it_is_written(place: Place) -> None:
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize("text", ["", "t", "t/1/x", "t/-1/2", "/1/2", "/2", "a/b/c/1"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(Refused, match="TOPIC/PARTITION/OFFSET"):
        Place.parse(text)


# ---- crashes


class Crash(Exception):
    """The process dies here."""


@pytest.mark.parametrize("method", ["commit_replay", "replay_newest", "finish_replay"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_anywhere_leaves_nothing_behind(world: World, method: str, when: str) -> None:
    world.read(record("height", 1.0), record("height", 2.0, NOW + 1))
    world.catalog = NEW

    def die(called: str) -> None:
        if called == method:
            raise Crash

    setattr(world, when, die)
    with pytest.raises(Crash):
        world.replay()
    world.before = world.after = lambda _method: None
    world.service().publish_unfinished()  # what the next process does at its start
    world.check()
    world.replay()
    assert (len(world.rows()), world.newest("height")) == (2, 2.0)
    assert world.store.unpublished_replays() == []
    world.check()


def test_a_lost_answer_is_asked_for_again_and_adds_nothing(world: World) -> None:
    world.read(record("height", 1.0))
    world.catalog = NEW
    lost = [RetryLater("the answer is lost"), RetryLater("again")]

    def lose(called: str) -> None:
        if called == "commit_replay" and lost:
            raise lost.pop()

    world.after = lose
    assert world.replay().replayed == 1
    assert len(world.rows()) == 1
    world.check()


def test_two_replays_at_once_add_nothing_twice(world: World) -> None:
    world.read(record("height", 1.0), record("height", 2.0))
    world.catalog = NEW
    inner: list[ReplayProgress] = []

    def interrupt(called: str) -> None:
        if called == "commit_replay" and not inner:
            inner.append(ReplayProgress(0, 0))
            inner.append(world.replay())

    world.before = interrupt
    done = world.replay()
    assert (inner[-1].replayed, inner[-1].taken, done.replayed, done.taken) == (2, 0, 0, 2)
    assert len(world.rows()) == 2
    world.check()


def test_a_redis_that_is_away_holds_nothing_up_and_gets_the_values_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.read(record("height", 1.0))
    world.catalog = NEW
    with monkeypatch.context() as patched:

        def away(_rows: pa.Table) -> int:
            raise Unreachable("Redis is away")

        patched.setattr(world.online, "write", away)
        done = world.replay()
    assert (done.replayed, done.note) == (1, ONLINE_LATER)
    assert world.newest("height") is None
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    running = world.service()
    running.start()
    while world.store.unpublished_replays():
        pass
    running.close()
    assert world.newest("height") == 1.0
    world.check()


def test_a_gateway_that_stops_ends_between_two_parts(world: World) -> None:
    world.read(record("height", 1.0), record("height", 2.0))
    world.ingest, world.catalog = IngestConfig(batch_records=1), NEW
    running = world.service()
    following = running.replay(Selection())
    assert [next(following).seen, next(following).seen] == [0, 1]
    running.close()
    with pytest.raises(RetryLater, match="replay again"):
        next(following)
    world.check()
