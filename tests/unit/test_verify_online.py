"""The online store against history while both move: what is wrong, what is only early, and what must be waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import pyarrow as pa
import pytest

from cluster.stores.memory_online import MemoryOnlineStore
from cluster.verify import compare
from tests.verify_world import HISTORY, NEWEST, World, failing, healthy_world, online_rows

Value = float | None

# In the healthy world `u3 a` is 23.0 at event time 123 and creation time 223 (position 23 of t[0]).
EVENT, CREATED, VALUE = 123, 223, 23.0


@pytest.fixture
def world() -> Iterator[World]:
    world = healthy_world()
    yield world
    world.connection.close()


def put_online(  # noqa: PLR0917 - reads as a row
    world: World, entity: str, feature: str, value: Value, event: int, created: int = 0
) -> None:
    world.online.write(online_rows((entity, feature, value, event, created)))


def put_in_history(world: World, entity: str, value: Value, event: int, created: int, *, source: int = 2) -> None:
    """Commit one more event of feature `a` with everything that belongs to it."""
    [[position]] = world.connection.execute("SELECT max(next_position) FROM batches WHERE source_id = ?", [source]).fetchall()
    world.connection.execute(
        "INSERT INTO features VALUES (?, 'a', ?, make_timestamp(?), make_timestamp(?), ?, ?)",
        [entity, value, event, created, source, position],
    )
    world.connection.execute("INSERT INTO batches VALUES (?, ?, ?, 1, 1, 0, 2, now())", [source, position, position + 1])
    world.connection.execute(
        'UPDATE partitions SET next_offset = ? FROM sources s WHERE s.source_id = ? AND partitions."partition" = s."partition"',
        [position + 1, source],
    )
    world.ends = dict.fromkeys(world.ends, 10**9)


def without(world: World, entity: str) -> MemoryOnlineStore:
    """Return the online store as if `entity` had never been written."""
    left = MemoryOnlineStore()
    others = [other for part in world.online.entities() for other in part if other != entity]
    seen = compare.all_seen(others, world.online, ["a", "b"])
    left.write(online_rows(*((s.entity, s.feature, s.value, s.event_us, s.created_us) for s in seen)))
    return left


def test_missing_online(world: World) -> None:
    world.online = without(world, "u3")
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert len(found[NEWEST]) == 2
    assert found[NEWEST][0].startswith("u3 a: online has nothing, history has event time 1970-01-01T00:00:00.000123")
    assert world.clock.now == 0, "streams write Redis first, so there is nothing to wait for"


def test_stale_online(world: World) -> None:
    world.online = without(world, "u3")
    put_online(world, "u3", "a", 19.0, EVENT - 4, 219)
    put_online(world, "u3", "b", VALUE, EVENT, CREATED)
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert "online has event time 1970-01-01T00:00:00.000119" in found[NEWEST][0]


@pytest.mark.parametrize(
    ("stored", "online", "same"),
    [
        (None, None, True),
        (None, 0.0, False),
        (0.0, None, False),
        (0.0, -0.0, True),
        (-0.0, -0.0, True),
        (0.1 + 0.2, 0.3, False),
        (5e-324, 5e-324, True),
        (float("nan"), float("nan"), True),
        (1.7976931348623157e308, 1.7976931348623157e308, True),
    ],
)
def test_values_are_the_same_number_or_null(world: World, stored: Value, online: Value, same: bool) -> None:  # noqa: FBT001
    put_in_history(world, "n", stored, 500, 500)
    put_online(world, "n", "a", online, 500, 500)
    assert set(failing(world.verify())) == (set() if same else {NEWEST})


@pytest.mark.parametrize(("entity", "feature"), [("ghost", "a"), ("x0", "a")])
def test_online_only(world: World, entity: str, feature: str) -> None:
    put_online(world, entity, feature, 1.0, 50)
    found = failing(world.verify())
    assert set(found) == {HISTORY}
    assert found[HISTORY][0].startswith(f"{entity} {feature}: online has event time")
    assert world.clock.now == pytest.approx(10), "it might have been on its way"


def test_what_is_not_declared_online_is_not_ours(world: World) -> None:
    put_online(world, "u3", "c", 1.0, 50)
    put_online(world, "ghost", "another_project", 1.0, 50)
    assert failing(world.verify()) == {}


@pytest.mark.parametrize("entity", ["u3", "newcomer"])
def test_online_is_ahead_until_history_catches_up(world: World, entity: str) -> None:
    put_online(world, entity, "a", 5.0, 900, 901)
    world.clock.meanwhile = [lambda: None, lambda: put_in_history(world, entity, 5.0, 900, 901)]
    assert failing(world.verify()) == {}
    assert world.clock.now == pytest.approx(0.1 + 0.2)


def test_online_is_ahead_for_ever(world: World) -> None:
    put_online(world, "u3", "a", 5.0, 900, 901)
    assert set(failing(world.verify())) == {HISTORY}
    assert world.clock.now == pytest.approx(10)


@pytest.mark.parametrize(("value", "event", "created"), [(6.0, 900, 901), (5.0, 901, 901), (5.0, 900, 902), (None, 900, 901)])
def test_history_catches_up_with_something_else(world: World, value: Value, event: int, created: int) -> None:
    put_online(world, "u3", "a", 5.0, 900, 901)
    world.clock.meanwhile = [lambda: put_in_history(world, "u3", value, event, created)]
    assert set(failing(world.verify())) == {HISTORY}


def test_a_value_that_history_never_had_is_not_forgiven_when_it_is_replaced(world: World) -> None:
    put_online(world, "u3", "a", 5.0, 900, 901)

    def replace() -> None:
        put_online(world, "u3", "a", 6.0, 950, 951)
        put_in_history(world, "u3", 6.0, 950, 951)

    world.clock.meanwhile = [replace]
    assert set(failing(world.verify())) == {HISTORY}


def test_equal_times_within_a_partition_the_last_position_wins(world: World) -> None:
    put_in_history(world, "u3", 77.0, EVENT, CREATED)
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert found[NEWEST][0].endswith("with another value")
    put_online(world, "u3", "a", 77.0, EVENT, CREATED)
    assert failing(world.verify()) == {}


def test_equal_times_under_two_registry_versions_are_one_partition(world: World) -> None:
    world.run("UPDATE features SET source_id = 1 WHERE source_id = 2 AND feature_name = 'a' AND position = 23")
    put_in_history(world, "u3", 77.0, EVENT, CREATED)
    assert NEWEST in failing(world.verify())
    put_online(world, "u3", "a", 77.0, EVENT, CREATED)
    assert failing(world.verify()) == {}


@pytest.mark.parametrize("value", [VALUE, 77.0])
def test_equal_times_from_two_partitions_either_may_win(world: World, value: float) -> None:
    put_in_history(world, "u3", 66.0, EVENT, CREATED, source=3)
    put_in_history(world, "u3", 77.0, EVENT, CREATED, source=3)
    put_online(world, "u3", "a", value, EVENT, CREATED)
    assert failing(world.verify()) == {}


def test_equal_times_from_two_partitions_but_not_the_last_of_either(world: World) -> None:
    put_in_history(world, "u3", 66.0, EVENT, CREATED, source=3)
    put_in_history(world, "u3", 77.0, EVENT, CREATED, source=3)
    put_online(world, "u3", "a", 66.0, EVENT, CREATED)
    assert set(failing(world.verify())) == {NEWEST}


def test_equal_times_may_be_a_commit_on_its_way(world: World) -> None:
    put_online(world, "u3", "a", 77.0, EVENT, CREATED)
    world.clock.meanwhile = [lambda: put_in_history(world, "u3", 77.0, EVENT, CREATED)]
    assert failing(world.verify()) == {}
    assert world.clock.now == pytest.approx(0.1)


def _upload(world: World, state: str) -> None:
    world.run(
        "INSERT INTO sources VALUES (9, 'upload', NULL, NULL, 'up9', 1, '2026-01-01', 0, NULL)",
        """INSERT INTO features VALUES ('u3', 'a', 8, make_timestamp(800), make_timestamp(800), 9, 0),
            ('up', 'b', 9, make_timestamp(1), make_timestamp(1), 9, 1)""",
        "INSERT INTO batches VALUES (9, 0, 2, 2, 2, 0, 0, now()::TIMESTAMP)",
        f"INSERT INTO uploads (upload_id, state, \"rows\", rejected) VALUES ('up9', '{state}', 2, 0)",
    )


def _reach_redis(world: World) -> None:
    put_online(world, "u3", "a", 8.0, 800, 800)
    put_online(world, "up", "b", 9.0, 1, 1)


def _done(world: World) -> None:
    world.run("UPDATE uploads SET state = 'DONE' WHERE upload_id = 'up9'")


def test_a_committed_upload_may_still_be_on_its_way_to_redis(world: World) -> None:
    _upload(world, "COMMITTED")
    world.clock.meanwhile = [lambda: None, lambda: _reach_redis(world), lambda: _done(world)]
    assert failing(world.verify()) == {}
    assert world.clock.now == pytest.approx(0.1 + 0.2)


def test_a_committed_upload_that_never_reaches_redis(world: World) -> None:
    _upload(world, "COMMITTED")
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert len(found[NEWEST]) == 2
    assert world.clock.now == pytest.approx(10)


def test_an_upload_that_is_done_must_be_in_redis(world: World) -> None:
    _upload(world, "DONE")
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert len(found[NEWEST]) == 2
    assert world.clock.now == 0


def test_an_upload_that_becomes_done_without_redis(world: World) -> None:
    _upload(world, "COMMITTED")
    world.clock.meanwhile = [lambda: _done(world)]
    assert set(failing(world.verify())) == {NEWEST}
    assert world.clock.now == pytest.approx(0.1)


class Traffic:
    """Streams that write online first and commit later, a bit with every query that verify makes."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._random, self._waiting = world, Random(seed), list[Callable[[], None]]()
        self._query = world.query
        self.written = 0
        world.query = self.query  # type: ignore[method-assign]
        world.clock.meanwhile = [self.step] * 1000

    def query(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        self.step()
        return self._query(sql, parameters)

    def step(self) -> None:
        for _ in range(self._random.randrange(4)):
            self._write()
        for _ in range(self._random.randrange(4)):
            if self._waiting:
                self._waiting.pop(0)()

    def _write(self) -> None:
        world, value = self._world, self._random.choice([None, self._random.random()])
        entity, event, created = (
            f"u{self._random.randrange(6)}",
            self._random.randrange(100, 140),
            self._random.randrange(230, 233),
        )
        put_online(world, entity, "a", value, event, created)
        self.written += 1
        self._waiting.append(lambda: put_in_history(world, entity, value, event, created))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_wrong_under_traffic(world: World, seed: int) -> None:
    traffic = Traffic(world, seed)
    assert failing(world.verify()) == {}
    assert traffic.written > 0
