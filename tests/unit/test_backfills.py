"""The service of backfills, on a topic in memory and a real DuckDB: what is recomputed, what stays, and what a crash leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cluster.backfills import Asked
from cluster.backfills import drive as driving
from cluster.backfills import service as services
from cluster.backfills.compute import Decoded, Recompute, Span
from cluster.config import GatewayConfig, IngestConfig
from cluster.errors import NotFound, Refused, RetryLater
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.ingest.backfills import Backfill, BackfillState
from cluster.ingest.decode import compile_decoder
from cluster.rebuild import FULL
from cluster.records import Origin
from cluster.registry.catalog import build
from cluster.registry.definitions import FeatureView, Field, Long, StreamSource
from cluster.stores.memory_kafka import MemoryPartition
from raytide.client import RaytideClient
from tests.backfill_world import FORBIDDEN, NOW, USER, BackfillWorld, definitions

ASKED = Asked("scores", NOW, NOW + 1000)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackfillWorld]:
    """Seven events in partition 0, out of order, two in partition 1, all read under version 1; then version 2 is in force."""
    world = BackfillWorld(tmp_path)
    world.send(("a", 10, 1.0), ("b", 20, 2.0), ("a", 90, 9.0), ("b", 30, 3.0), ("a", 40, 4.0), ("b", 5, 0.5), ("a", 50, 5.0))
    world.send(("c", 10, 6.0), ("c", 60, 7.0), partition=1)
    world.stream()
    world.stream(1)
    world.catalog = definitions(2)
    yield world
    world.close()


def old(*positions: int, partition: int = 0) -> dict[tuple[int, int], tuple[float, str, int]]:
    values = [[1.0, 2.0, 9.0, 3.0, 4.0, 0.5, 5.0], [6.0, 7.0]][partition]
    return {(partition, p): (values[p], "stream", 1) for p in positions}


def new(*positions: int, partition: int = 0) -> dict[tuple[int, int], tuple[float, str, int]]:
    return {key: (2 * value, "backfill", 2) for key, (value, _, _) in old(*positions, partition=partition).items()}


def test_events_of_the_range_are_computed_anew_and_others_stay(world: BackfillWorld) -> None:
    done = world.backfill(10, 50)
    assert world.scores() == new(0, 1, 3, 4) | old(2, 5, 6) | new(0, partition=1) | old(1, partition=1)
    assert world.scores("superseded") == old(0, 1, 3, 4) | old(0, partition=1)
    assert world.scores(feature="x") == old(0, 1, 2, 3, 4, 5, 6) | old(0, 1, partition=1)
    assert (done.backfill.state, done.backfill.note, done.left) == (BackfillState.DONE, "", ())
    assert [(str(p.key), p.events, p.rows, p.superseded, p.rejected) for p in done.backfill.parts] == [
        ("t[0]", 4, 4, 4, 0),
        ("t[1]", 1, 1, 1, 0),
    ]
    world.check()


def test_the_newest_is_replaced_online_and_what_is_newer_stays(world: BackfillWorld) -> None:
    assert (world.served("a"), world.served("b"), world.served("c")) == (9.0, 3.0, 7.0)
    world.backfill(0, 80)
    assert (world.served("a"), world.served("b"), world.served("c")) == (9.0, 6.0, 14.0)
    world.check()


def test_done_twice_it_adds_nothing(world: BackfillWorld) -> None:
    world.backfill(10, 50)
    before = world.reads.query("SELECT count(*) AS n FROM features"), world.reads.query("SELECT count(*) AS n FROM batches")
    again = world.backfill(10, 50).backfill
    assert [(p.rows, p.superseded, p.rejected) for p in again.parts] == [(0, 0, 0), (0, 0, 0)]
    wider = world.backfill(0, 1000).backfill
    assert sum(p.rows for p in wider.parts) == 4, "what the first one did is not done again"
    assert world.scores() == new(*range(7)) | new(0, 1, partition=1)
    assert before[0].equals(world.reads.query("SELECT count(*) AS n FROM features"))
    assert len(world.store.list_backfills()) == 3
    world.check()


def test_what_the_stream_made_under_the_same_definitions_stays(world: BackfillWorld) -> None:
    world.send(("a", 45, 8.0))
    world.stream()
    world.backfill(40, 60)
    assert world.scores()[0, 7] == (16.0, "stream", 2)
    assert world.scores()[0, 4] == (8.0, "backfill", 2)
    world.check()


def test_a_record_that_fails_now_loses_its_value_in_history_and_online(world: BackfillWorld) -> None:
    world.catalog = definitions(1)
    world.send(("a", 200, FORBIDDEN), ("d", 30, FORBIDDEN))
    world.stream()
    world.catalog = definitions(2)
    assert (world.served("a"), world.served("d")) == (13.0, 13.0)
    done = world.backfill(0, 1000).backfill
    assert done.parts[0].rejected == 2
    assert (0, 7) not in world.scores()
    assert world.scores("superseded")[0, 7] == (13.0, "stream", 1)
    assert (world.served("a"), world.served("d")) == (18.0, None), "the newest without it, or nothing"
    assert world.reads.query("FROM quarantine").num_rows == 0, "the record is in history, with the features of other views"
    assert world.scores(feature="x")[0, 7] == (13.0, "stream", 1)
    world.check()


def test_a_dead_letter_is_left_to_a_replay(world: BackfillWorld) -> None:
    world.catalog = definitions(2)
    world.send(("a", 200, FORBIDDEN))
    world.stream()
    world.catalog = definitions(3, fails=False)
    done = world.backfill(0, 1000).backfill
    assert done.parts[0].open == 1
    assert (0, 7) not in world.scores()
    assert world.scores()[0, 0] == (3.0, "backfill", 3)
    world.check()


def test_a_new_view_gets_its_past(world: BackfillWorld) -> None:
    world.catalog = definitions(2, more=True)
    done = world.backfill(0, 1000)
    assert world.scores(feature="shifted")[0, 2] == (109.0, "backfill", 2)
    assert (done.backfill.parts[0].rows, done.backfill.parts[0].superseded) == (14, 7)
    assert world.served("a", "shifted") == 109.0
    world.check()


def test_a_record_belongs_to_the_range_by_its_old_or_its_new_time(world: BackfillWorld) -> None:
    """Under version 3 the time is in ms: all events are somewhere else."""
    source = replace(world.catalog.sources["events"])
    records = replace(source.records, timestamp_unit="ms")
    views = [replace(view, source=replace(source, records=records)) for view in world.catalog.views.values()]
    world.catalog = build("p", views).registered_as(3)
    world.ingest = world.ingest.model_copy(update={"max_future_skew_s": 2**40})
    world.send(("a", -1_699_999_000_000_000, 3.0))
    done = world.backfill(10, 50)
    assert done.backfill.parts[0].events + done.backfill.parts[0].rejected == 4
    assert set(world.scores()) >= {(0, 2), (0, 5), (0, 6)}


@pytest.mark.parametrize("method", ["commit_backfill", "backfill_changes", "publish_backfill"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_anywhere_and_started_again_it_ends_right(world: BackfillWorld, method: str, nth: int) -> None:
    calls = []

    def die(name: str) -> None:
        calls.append(name)
        if calls.count(method) == nth and calls[-1] == method:
            raise SystemExit("killed")

    world.before = die
    with pytest.raises(SystemExit):
        world.crawl(10, 50)
    world.before = lambda _: None
    assert world.store.list_backfills()[0].state is BackfillState.RUNNING, "nobody could say goodbye"
    world.scores()  # no record has two versions
    world.service().look()
    (left,) = world.store.list_backfills()
    assert (left.state, left.note) == (BackfillState.STOPPED, services.GATEWAY_ENDED)
    world.check()
    done = world.backfill(10, 50).backfill
    assert done.backfill_id == left.backfill_id, "it goes on"
    assert world.scores() == new(0, 1, 3, 4) | old(2, 5, 6) | new(0, partition=1) | old(1, partition=1)
    assert sum(p.rows for p in done.parts) == 5
    world.check()


def test_broken_off_it_stops_and_goes_on_later(world: BackfillWorld) -> None:
    told = world.service().run(ASKED)
    first = next(told).backfill
    told.close()
    stopped = world.store.get_backfill(first.backfill_id)
    assert (stopped.state, stopped.note) == (BackfillState.STOPPED, services.BROKEN_OFF)
    assert world.backfill().backfill.backfill_id != first.backfill_id, "that asked for another range"
    done = list(world.service().run(ASKED))[-1].backfill
    assert (done.backfill_id, done.state) == (first.backfill_id, BackfillState.DONE)


def test_a_client_that_leaves_stops_it(world: BackfillWorld) -> None:
    """Over gRPC, where a call that is broken off is noticed at the next word."""
    world.before = lambda method: time.sleep(0.5) if method == "commit_backfill" else None
    service = world.service()
    server = GatewayServer(
        GatewayConfig(port=0),
        every_service(cast("Backend", SimpleNamespace(backfills=service, catalog=lambda: world.catalog))),
    )
    server.start()
    try:
        with RaytideClient(f"127.0.0.1:{server.port}") as client:
            first = next(client.backfill(ASKED)).backfill
        deadline = time.monotonic() + 20
        while service.listed(1)[0].state is BackfillState.RUNNING:
            assert time.monotonic() < deadline, "nobody noticed"
            time.sleep(0.05)
    finally:
        server.stop(1)
    assert (service.listed(1)[0].backfill_id, service.listed(1)[0].note) == (first.backfill_id, services.BROKEN_OFF)
    world.before = lambda _: None
    assert list(service.run(ASKED))[-1].backfill.state is BackfillState.DONE
    world.check()


def test_streams_go_on_while_their_past_is_computed_anew(world: BackfillWorld) -> None:
    """Many small transactions on both sides: none is in the way of another, and what a reader sees adds up all the time."""
    world.catalog, world.ingest = definitions(1), IngestConfig(batch_records=20)
    world.send(*[(f"u{n % 7}", n, float(n % 100)) for n in range(100, 400)])
    world.stream()
    world.catalog = definitions(2)
    ended = threading.Event()

    def go_on() -> None:
        for n in range(1_000, 1_030):
            world.send((f"u{n % 7}", n, 1.0))
            world.stream()
        ended.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    done = world.backfill(0, 10_000).backfill
    thread.join()
    assert ended.is_set()
    assert done.parts[0].events + done.parts[0].rejected >= 307
    scores = world.scores()
    assert {version for _, _, version in scores.values()} == {2}
    assert len(scores) == 7 + 2 + 300 + 30 - 3, "three of them fail now"
    world.check()


def test_one_that_runs_is_not_started_twice_and_can_be_cancelled(world: BackfillWorld) -> None:
    service = world.service()
    told = service.run(ASKED)
    first = next(told).backfill
    with pytest.raises(Refused, match="raytide backfill cancel"):
        next(service.run(ASKED))
    service.look()
    assert world.store.get_backfill(first.backfill_id).state is BackfillState.RUNNING, "it is this process's own"
    assert service.cancel(first.backfill_id).state is BackfillState.STOPPED
    last = list(told)[-1].backfill
    assert (last.state, last.note) == (BackfillState.STOPPED, services.CANCELLED)
    assert world.scores() == old(*range(7)) | old(0, 1, partition=1)
    with pytest.raises(NotFound):
        service.cancel("nobody")


def test_newer_definitions_begin_another_backfill(world: BackfillWorld) -> None:
    told = world.service().run(ASKED)
    first = next(told).backfill
    told.close()
    world.catalog = definitions(3)
    done = list(world.service().run(ASKED))[-1].backfill
    assert done.backfill_id != first.backfill_id
    assert {version for _, _, version in world.scores().values()} == {3}
    world.check()


def test_a_dry_run_says_what_would_be_read_and_stores_nothing(world: BackfillWorld) -> None:
    (said,) = world.service().try_out(ASKED)
    assert (said.dry_run, said.backfill.offsets, said.left) == (True, 9, ())
    assert world.store.list_backfills() == []
    assert world.scores() == old(*range(7)) | old(0, 1, partition=1)


def test_what_kafka_has_no_more_stays_and_is_told(world: BackfillWorld) -> None:
    world.topic.remove_before(4)
    done = world.backfill(10, 50)
    assert [(left.place, left.records, left.why) for left in done.left] == [("t[0]", 3, "Kafka does not have it any more")]
    assert world.scores() == old(0, 1, 2, 3) | new(4) | old(5, 6) | new(0, partition=1) | old(1, partition=1)
    world.check()


def test_retention_may_be_faster_than_the_backfill(world: BackfillWorld) -> None:
    told = world.service().run(Asked("scores", NOW + 10, NOW + 50))
    next(told)
    world.topic.remove_before(4)
    assert list(told)[-1].backfill.state is BackfillState.DONE
    assert world.scores() == old(0, 1, 2, 3) | new(4) | old(5, 6) | new(0, partition=1) | old(1, partition=1)
    world.check()


def test_a_topic_that_was_made_again_is_not_read(world: BackfillWorld) -> None:
    told = world.service().run(ASKED)
    next(told)
    world.topic.make_anew()
    world.send(*[("z", 20, 1.0)] * 9)
    with pytest.raises(Refused, match="made"):
        list(told)
    assert world.store.list_backfills()[0].state is BackfillState.STOPPED
    assert world.scores() == old(*range(7)) | old(0, 1, partition=1)
    (planned,) = world.service().try_out(ASKED)
    assert planned.backfill.parts == ()
    assert sum(left.records for left in planned.left) == 9


def test_a_log_that_lost_its_end_is_not_read(world: BackfillWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "PATIENCE_SECONDS", 0.1)
    told = world.service().run(ASKED)
    next(told)
    world.topic._ends[0] = 3
    with pytest.raises(RetryLater, match="lost the end of its log"):
        list(told)
    assert world.store.list_backfills()[0].state is BackfillState.STOPPED


def test_wrong_questions_are_named(world: BackfillWorld) -> None:
    with pytest.raises(NotFound, match=r"^view: .*did you mean 'scores'"):
        world.service().plan(Asked("score", 0, 1))
    with pytest.raises(Refused, match=r"^until_us: "):
        world.service().plan(Asked("scores", 5, 5))


def test_a_view_that_is_not_online_changes_history_only(world: BackfillWorld) -> None:
    world.catalog = definitions(2, online=False)
    done = world.backfill(0, 1000).backfill
    assert done.is_whole
    assert world.served("a") == 9.0


def test_while_the_online_store_is_rebuilt_it_waits_and_writes_again(
    world: BackfillWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.online.mark("claimed by somebody")
    written: list[int] = []
    write = world.online.write

    def count(rows: object) -> int:
        written.append(1)
        return write(rows)

    def rebuilt(_seconds: float) -> None:
        world.online.mark(FULL)

    monkeypatch.setattr(world.online, "write", count)
    monkeypatch.setattr("cluster.backfills.share.time", SimpleNamespace(sleep=rebuilt, monotonic=time.monotonic))
    world.backfill(0, 1000)
    assert len(written) == 5, "one for each of the four chunks, and the first of them once more"


def test_what_is_unpublished_is_brought_online_by_any_gateway(world: BackfillWorld) -> None:
    class Stopped(Exception):
        pass

    def die(name: str) -> None:
        if name == "backfill_changes":
            raise Stopped

    world.before = die
    with pytest.raises(Stopped):
        world.crawl(10, 50)
    world.before = lambda _: None
    world.service().look()
    assert world.store.unpublished_backfills() == []
    world.check()


def test_a_store_that_is_away_is_tried_again(world: BackfillWorld) -> None:
    failures = iter([True, True])

    def away(name: str) -> None:
        if name == "commit_backfill" and next(failures, False):
            raise RetryLater("away for a moment")

    world.before = away
    assert world.backfill(10, 50).backfill.state is BackfillState.DONE
    assert world.scores()[0, 0] == (2.0, "backfill", 2)


def test_a_service_that_ends_stops_its_backfills(world: BackfillWorld) -> None:
    service = world.service()
    service.start()
    told = service.run(ASKED)
    opened = next(told).backfill
    service.close()
    with pytest.raises(RetryLater, match="stopping"):
        list(told)
    assert world.store.get_backfill(opened.backfill_id).state is BackfillState.STOPPED


def test_records_beyond_the_end_are_not_looked_at(world: BackfillWorld) -> None:
    told = world.service().run(ASKED)
    next(told)
    world.send(("a", 11, 100.0))  # version 2 is in force: whoever reads it makes it new
    list(told)
    assert set(world.scores()) == {(0, p) for p in range(7)} | {(1, 0), (1, 1)}


def test_a_long_source_keeps_to_the_features_of_the_view(world: BackfillWorld) -> None:
    source = StreamSource("events", "t", Long())
    views = [FeatureView("one", USER, source, [Field("p")]), FeatureView("two", USER, source, [Field("q")])]
    catalog = build("p", views).registered_as(2)
    backfill = Backfill("b", "one", "events", ("p",), 2, NOW, NOW + 10, ())
    recompute = Recompute.compile(catalog, backfill, world.ingest)
    values = [
        f'{{"entity_id": "u", "feature_name": "{name}", "value": 1, "event_timestamp": {NOW + 1}}}'.encode() for name in "pqr"
    ]
    first = world.topic.bounds(0)[1]
    for value in values:
        world.topic.append(value)
    reader = MemoryPartition(world.topic, 0, world.ingest)
    reader.seek(first)
    records = reader.poll(0)
    assert records is not None
    before = records.positions[2:]
    decoded = Decoded(*compile_decoder(source, catalog, world.ingest)(records, NOW + 10))
    span = Span(Origin.stream("t", 0, 2).recomputed_by("b", 2), records.first, records.next)
    chunk = recompute.run(decoded, before, span)
    assert chunk.rows["position"].to_pylist() == [first]
    assert chunk.rejects["position"].to_pylist() == [first + 2], "it had a row in the range"
    assert chunk.events == 1
