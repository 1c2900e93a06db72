"""Filling an emptied online store from history, with streams that go on: the races, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import pytest

from cluster import rebuild as rebuilding
from cluster.errors import Unreachable
from cluster.rebuild import Key, Mark, OnlineWatch, Parts, as_it_is, ask, full, rebuild
from cluster.status import OnlineReport, OnlineState
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.verify import newest
from tests.verify_world import NEWEST, World, failing, healthy_world, online_rows

T0, T1 = ("t", 0), ("t", 1)
IDLE = {T0: Mark(2, 25), T1: Mark(1, 10), ("t", 2): Mark(1, 0)}
Row = tuple[str, str, float | None, int, int]


class Streams:
    """The actors of the world's partitions: what each says, and what happens while a rebuild pauses."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: dict[Key, Mark] = dict(IDLE)
        self.asked = 0
        self.meanwhile: list[Callable[[], None]] = []
        self.parts = Parts(world, world.online, world.catalog.online_names, self.in_flight, self.pause, patience=3)
        self.watch = OnlineWatch(self.parts, lambda: False)
        self.full = full(world.catalog.online_names())

    def in_flight(self, keys: Iterable[Key]) -> Mapping[Key, Mark]:
        self.asked += 1
        return {key: self.said[key] for key in keys if key in self.said}

    def pause(self) -> None:
        assert self.meanwhile, "it waits for something that nothing will bring"
        self.meanwhile.pop(0)()

    def nothing(self) -> None:
        """Let a pause pass."""

    def write(self, *rows: Row) -> None:
        """Do the first half of a batch of t[0]: Redis, and say so."""
        self.world.online.write(online_rows(*rows))
        self.said[T0] = Mark(2, self.said[T0].next + len(rows))

    def commit(self, *rows: Row, epoch: int = 2) -> None:
        """Do the second half: DuckDB."""
        (start,) = self.world.query("SELECT next_offset FROM partitions WHERE partition = 0")["next_offset"].to_pylist()
        for n, row in enumerate(rows):
            values = (*row[:3], f"make_timestamp({row[3]})", f"make_timestamp({row[4]})", 2, start + n)
            text = f"'{values[0]}', '{values[1]}', " + ", ".join(map(str, values[2:]))
            self.world.run(f"INSERT INTO features VALUES ({text})")
        n = len(rows)
        self.world.run(
            f"INSERT INTO batches VALUES (2, {start}, {start + n}, {n}, {n}, 0, {epoch}, now()::TIMESTAMP)",
            f"UPDATE partitions SET next_offset = {start + n}, epoch = {epoch} WHERE partition = 0",
        )
        self.world.ends[T0] = start + n


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streams]:
    monkeypatch.setattr(newest, "ENTITIES_AT_ONCE", 3)  # several parts
    world = healthy_world()
    yield Streams(world)
    world.connection.close()


FRESH: Row = ("u1", "a", 77.0, 900, 900)
FRESHER: Row = ("u1", "a", 78.0, 901, 900)


def is_right(streams: Streams) -> bool:
    return streams.world.online.marker() == streams.full and failing(streams.world.verify()) == {}


def test_an_emptied_store_is_filled_in_parts_and_marked(streams: Streams) -> None:
    streams.world.online.clear()
    assert set(failing(streams.world.verify())) == {NEWEST}
    seen = list(rebuild(streams.parts))
    assert seen[0] == OnlineReport(OnlineState.REBUILDING)
    assert [(r.entities_done, r.entities_total) for r in seen[1:]] == [(3, 8), (6, 8), (8, 8)]
    assert is_right(streams)


def test_doing_it_again_changes_nothing(streams: Streams) -> None:
    before = streams.world.online.read(["u0", "u1", "x2"], ["a", "b"])
    for _ in range(2):
        list(rebuild(streams.parts))
    after = streams.world.online.read(["u0", "u1", "x2"], ["a", "b"])
    assert [v.tobytes() for v in before.values] == [v.tobytes() for v in after.values]
    assert is_right(streams)


def test_a_full_store_is_left_alone(streams: Streams) -> None:
    streams.world.online.mark(streams.full)
    streams.watch.look()
    assert streams.watch.report == OnlineReport(OnlineState.OK)
    assert streams.asked == 0


def test_a_store_that_should_hold_other_features_is_filled_again(streams: Streams) -> None:
    streams.watch.look()
    more = replace(streams.parts, features=lambda: [*streams.world.catalog.online_names(), "new"])
    OnlineWatch(more, lambda: False).look()
    assert streams.world.online.marker() == full(more.features()) != streams.full
    assert streams.asked > 0


def test_a_new_store_is_only_marked() -> None:
    world = World()
    streams = Streams(world)
    streams.watch.look()
    assert streams.watch.report == OnlineReport(OnlineState.OK)
    assert (world.online.marker(), list(world.online.entities())) == (streams.full, [])
    world.connection.close()


def test_features_that_are_not_online_stay_out(streams: Streams) -> None:
    streams.world.online.clear()
    streams.watch.look()
    assert not any(streams.world.online.read(["u0", "u1", "u2", "u3"], ["c"]).found[0])


def test_what_streams_wrote_into_the_emptied_store_stays(streams: Streams) -> None:
    streams.world.online.clear()
    streams.write(FRESH)
    streams.commit(FRESH)
    streams.write(FRESHER)
    streams.meanwhile = [lambda: streams.commit(FRESHER)]
    streams.watch.look()
    assert streams.world.online.read(["u1"], ["a"]).values[0].tolist() == [78.0]
    assert is_right(streams)


def test_online_before_the_store_was_emptied_and_committed_after_the_first_pass(streams: Streams) -> None:
    """In neither place that the first pass sees: the reason for the second."""
    streams.write(FRESH)
    streams.world.online.clear()
    streams.meanwhile = [streams.nothing] * 3 + [lambda: streams.commit(FRESH)]
    seen = list(rebuild(streams.parts))
    assert [r.note for r in seen if r.note] == ["waits until what t[0] had in flight is committed"]
    assert sum(r.entities_done == 8 for r in seen) == 2
    assert is_right(streams)


def test_a_batch_that_is_committed_soon_costs_no_second_pass(streams: Streams) -> None:
    streams.write(FRESH)
    streams.world.online.clear()
    streams.meanwhile = [lambda: streams.commit(FRESH)]
    seen = list(rebuild(streams.parts))
    assert sum(r.entities_done == 8 for r in seen) == 1
    assert is_right(streams)


def test_a_stream_that_never_rests_does_not_hold_it_up(streams: Streams) -> None:
    """Only what was in flight after the claim counts, not what came since."""
    streams.write(FRESH)
    streams.world.online.clear()

    def commit_and_go_on() -> None:
        streams.commit(FRESH)
        streams.write(FRESHER)

    streams.meanwhile = [commit_and_go_on]
    streams.watch.look()
    streams.commit(FRESHER)
    assert is_right(streams)


@pytest.mark.parametrize("said", [None, Mark(1, 25), Mark(0, -1)], ids=["frozen", "zombie", "not opened"])
def test_an_actor_that_cannot_say_what_it_had_is_waited_for(streams: Streams, said: Mark | None) -> None:
    """A successor that opened the partition fences what it had in flight, and replays it after the claim."""
    streams.world.online.write(online_rows(FRESH))
    streams.world.online.clear()
    streams.said.pop(T0)
    streams.said |= {T0: said} if said else {}

    def replay() -> None:
        streams.world.run("UPDATE partitions SET epoch = 3 WHERE partition = 0")
        streams.said[T0] = Mark(3, 26)
        streams.world.online.write(online_rows(FRESH))
        streams.commit(FRESH, epoch=3)

    streams.meanwhile = [streams.nothing] * 5 + [replay]
    streams.watch.look()
    assert not streams.meanwhile
    assert is_right(streams)


def test_a_frozen_actor_that_goes_on_says_what_it_had(streams: Streams) -> None:
    streams.write(FRESH)
    streams.world.online.clear()
    late = streams.said.pop(T0)
    streams.meanwhile = [streams.nothing] * 4 + [lambda: streams.said.update({T0: late}), lambda: streams.commit(FRESH)]
    streams.watch.look()
    assert not streams.meanwhile
    assert is_right(streams)


def test_a_partition_whose_source_was_taken_out_of_the_definitions_is_settled(streams: Streams) -> None:
    streams.world.online.clear()
    streams.said[T1] = Mark(-1, 0)
    streams.watch.look()
    assert is_right(streams)


@pytest.mark.parametrize("steps", range(1, 5))
def test_emptied_again_in_the_middle_it_is_not_marked_and_starts_again(streams: Streams, steps: int) -> None:
    streams.world.online.clear()
    running = rebuild(streams.parts)
    assert len(list(islice(running, steps))) == steps
    streams.world.online.clear()
    list(running)
    assert streams.world.online.marker() is None
    streams.watch.look()
    assert is_right(streams)


def test_emptied_again_while_it_waits_it_stops_waiting(streams: Streams) -> None:
    streams.write(FRESH)
    streams.meanwhile = [streams.nothing] * 3 + [streams.world.online.clear]
    list(rebuild(streams.parts))
    assert streams.world.online.marker() is None
    streams.meanwhile = [lambda: streams.commit(FRESH)]
    streams.watch.look()
    assert is_right(streams)


def test_one_that_died_in_the_middle_is_done_again_by_its_successor(streams: Streams) -> None:
    streams.world.online.clear()
    next(rebuild(streams.parts))
    OnlineWatch(streams.parts, lambda: False).look()
    assert is_right(streams)


def test_told_to_stop_it_ends_without_the_mark(streams: Streams) -> None:
    streams.world.online.clear()
    OnlineWatch(streams.parts, lambda: True).look()
    assert streams.world.online.marker() not in {None, streams.full}


def test_a_store_that_is_away_is_told_and_tried_again(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    streams.world.online.clear()

    def away(*_: object) -> int:
        raise Unreachable("Redis at here cannot be reached; start it")

    with monkeypatch.context() as trouble:
        trouble.setattr(MemoryOnlineStore, "write", away)
        streams.watch.look()
    assert (streams.watch.report.state, streams.watch.report.note[:8]) == (OnlineState.AWAY, "Redis at")
    streams.watch.look()
    assert streams.watch.report == OnlineReport(OnlineState.OK, "", 8, 8)
    assert is_right(streams)


def test_a_status_between_two_looks_says_what_the_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    online, well = MemoryOnlineStore(), OnlineReport(OnlineState.OK, entities_done=3)
    assert as_it_is(online, well).state is OnlineState.REBUILDING
    online.mark(full(["x"]))
    assert as_it_is(online, well) == well

    def away(_self: MemoryOnlineStore) -> None:
        raise Unreachable("away")

    monkeypatch.setattr(MemoryOnlineStore, "marker", away)
    assert as_it_is(online, well) == replace(well, state=OnlineState.AWAY, note="away")


def test_a_status_during_a_rebuild_says_how_far_it_is() -> None:
    busy = OnlineReport(OnlineState.REBUILDING, entities_done=3)
    assert as_it_is(MemoryOnlineStore(), busy) is busy


def test_asking_rebuilds_what_somebody_deleted_and_says_how_far_it_is(streams: Streams) -> None:
    online, watch = streams.world.online, streams.watch
    watch.look()
    online.clear()
    online.mark(streams.full)  # nobody would notice
    answers = list(ask(online, lambda: watch.report, watch.look))
    assert [a.state for a in answers] == [OnlineState.REBUILDING, OnlineState.OK]
    assert (answers[-1].entities_done, answers[-1].entities_total) == (8, 8)
    assert is_right(streams)


def test_asking_while_one_runs_makes_it_run_again(streams: Streams) -> None:
    """The one that runs has passed entities that the question may be about."""
    online = streams.world.online
    running = rebuild(streams.parts)
    list(islice(running, 3))
    asked = ask(online, lambda: OnlineReport(OnlineState.REBUILDING), streams.nothing)
    next(asked)
    list(running)
    assert online.marker() not in {None, streams.full}
    streams.watch.look()
    assert is_right(streams)


def test_without_the_wait_the_value_is_lost(streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test of the tests: what the second pass is for."""
    monkeypatch.setattr(rebuilding.Settling, "look", lambda self: self.open.clear() or [])
    streams.write(FRESH)
    streams.world.online.clear()
    list(rebuild(streams.parts))
    streams.commit(FRESH)
    assert streams.world.online.marker() == streams.full
    assert set(failing(streams.world.verify())) == {NEWEST}
