"""After a backfill everything adds up; what is broken in it is found; and what it changes meanwhile is no false alarm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.verify_world import (
    ACCOUNT,
    BACKFILLED,
    HISTORY,
    NEWEST,
    ONCE,
    SOURCES,
    World,
    failing,
    healthy_world,
    online_rows,
)

BEGUN = (
    "INSERT INTO sources VALUES (10, 'backfill', 't', 0, NULL, 2, '2026-01-02', 0, 'bf')",
    """INSERT INTO backfills VALUES ('bf', 'v', 's', ['a', 'b'], 2, make_timestamp(110), make_timestamp(114), 'RUNNING', 'g',
        '', now()::TIMESTAMP, now()::TIMESTAMP)""",
    "INSERT INTO backfill_partitions VALUES ('bf', 't', 0, 0, NULL, 5, 25, 5, 5, 0, 0, 0, 0, 0, NULL)",
)
#: Positions 10 to 12 of t[0] get ten times the value, 13 fails now.
CHUNK = (
    """INSERT INTO superseded SELECT *, 10, now()::TIMESTAMP FROM features
        WHERE source_id = 1 AND position BETWEEN 10 AND 13""",
    "DELETE FROM features WHERE source_id = 1 AND position BETWEEN 10 AND 13",
    """INSERT INTO features SELECT * EXCLUDE (superseded_by, superseded_at) REPLACE (value * 10 AS value, 10 AS source_id)
        FROM superseded WHERE position < 13""",
    "INSERT INTO batches VALUES (10, 5, 15, 3, 3, 0, 0, now()::TIMESTAMP)",
    "UPDATE backfill_partitions SET next_position = 15",
)
PUBLISHED = "UPDATE backfill_partitions SET published_position = next_position"


def old_stream_world() -> World:
    """Return the healthy world as if the newest of u1's `a` were at position 13: later ones are not there."""
    world = healthy_world()
    world.run(
        "DELETE FROM features WHERE source_id IN (2, 4)",
        "DELETE FROM batches WHERE source_id IN (2, 4)",
        "DELETE FROM quarantine WHERE source_id = 4",
        "DELETE FROM sources WHERE source_id IN (2, 4)",
        "DELETE FROM uploads",
        'UPDATE partitions SET next_offset = 15 WHERE "partition" = 0',
        *BEGUN,
    )
    world.ends = {("t", 0): 15, ("t", 1): 10}
    world.online = type(world.online)()
    world.sync_online()
    return world


def write_online(world: World) -> None:
    """Do what publishing does: take u1's value of position 13 away, and write the newest."""
    world.online.retract(online_rows(("u1", "a", 13.0, 113, 213)))
    world.sync_online()


@pytest.fixture
def world() -> Iterator[World]:
    world = old_stream_world()
    yield world
    world.connection.close()


def test_a_store_after_a_backfill_is_healthy(world: World) -> None:
    world.run(*CHUNK, PUBLISHED)
    write_online(world)
    report = world.verify()
    assert failing(report) == {}
    assert {check.name: check.checked for check in report.checks}[BACKFILLED] == 3
    assert world.clock.now == 0, "nothing had to settle"


def test_during_one_and_after_one_that_was_killed_nothing_is_wrong(world: World) -> None:
    """The chunk is committed and nobody publishes it: stale values are told only when patience ends."""
    world.run(*CHUNK)
    world.clock.meanwhile.append(lambda: write_online(world))
    assert failing(world.verify()) == {}
    assert world.clock.now > 0


def test_a_chunk_that_comes_between_the_two_readings_is_no_offence(world: World) -> None:
    history = [world.query]

    def once(sql: str, parameters: Sequence[object] = ()) -> object:
        found = history[0](sql, parameters)
        if "AS on_its_way" in sql and world.query.__name__ == "once":
            del world.query
            world.run(*CHUNK, PUBLISHED)
            write_online(world)
        return found

    world.query = once  # type: ignore[method-assign] # for one look
    assert failing(world.verify()) == {}


BREAKS: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "two versions of a record": (
        [
            "DELETE FROM superseded WHERE position = 11",
            "INSERT INTO features VALUES ('u3', 'a', 11, make_timestamp(111), make_timestamp(211), 1, 11)",
        ],
        {BACKFILLED: "t[0]: position 11 has a from source_id 10 and from 1"},
    ),
    "superseded, and still there": (
        ["INSERT INTO features SELECT * EXCLUDE (superseded_by, superseded_at) FROM superseded WHERE position = 13"],
        {ONCE: "t[0]: position 13 has a 2 times", ACCOUNT: "t[0]: 10 rows are stored, the ledger counts 9"},
    ),
    "a superseded row lost": (
        ["DELETE FROM superseded WHERE position = 12"],
        {ACCOUNT: "t[0]: 8 events are stored, the ledger counts 9"},
    ),
    "superseded outside the chunk": (
        [
            "INSERT INTO superseded SELECT *, 10, now()::TIMESTAMP FROM features WHERE position = 7 AND source_id = 3",
            "DELETE FROM features WHERE position = 7 AND source_id = 3",
            "UPDATE batches SET first_position = 8 WHERE source_id = 10",
        ],
        {BACKFILLED: "t[1]: position 7 has a superseded b, but no backfill took its place"},
    ),
    "by an older version": (
        ["UPDATE sources SET registry_version = 1 WHERE source_id = 10"],
        {BACKFILLED: "t[0]: position 1"},
    ),
    "a recomputed row lost": (
        ["DELETE FROM features WHERE source_id = 10 AND position = 10"],
        {ACCOUNT: "backfill bf of t[0]: 2 events are stored, the ledger counts 3"},
    ),
    "an unknown source": (
        ["UPDATE superseded SET superseded_by = 99 WHERE position = 10"],
        {
            SOURCES: "superseded: 1 rows of source_id 99, which is not in sources",
            BACKFILLED: "t[0]: position 10 has a superseded a, but no backfill took its place",
        },
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_backfill_that_is_broken_is_found_and_nothing_else(world: World, name: str) -> None:
    world.run(*CHUNK, PUBLISHED)
    statements, expected = BREAKS[name]
    world.run(*statements)
    world.online = type(world.online)()
    world.sync_online()
    found = failing(world.verify())
    assert set(found) == set(expected)
    for check, text in expected.items():
        assert found[check][0].startswith(text)


def test_a_superseded_value_that_stays_online_is_found(world: World) -> None:
    world.run(*CHUNK, PUBLISHED)
    world.sync_online()
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    when = "event time 1970-01-01T00:00:00.000113 created 1970-01-01T00:00:00.000213"
    assert found[NEWEST] == (f"u1 a: online has {when}, which a backfill superseded in history",)


def test_a_value_of_which_history_has_nothing_any_more_is_found(world: World) -> None:
    world.run(
        *CHUNK,
        "INSERT INTO superseded SELECT *, 10, now()::TIMESTAMP FROM features WHERE source_id = 1 AND entity_id = 'u1'",
        "DELETE FROM features WHERE source_id = 1 AND entity_id = 'u1'",
        PUBLISHED,
    )
    world.sync_online()
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert "which a backfill superseded" in found[NEWEST][0]


def test_a_value_that_never_was_in_history_is_still_found(world: World) -> None:
    world.run(*CHUNK, PUBLISHED)
    write_online(world)
    world.online.write(online_rows(("u1", "a", 1.0, 999, 999)))
    assert set(failing(world.verify())) == {HISTORY}


def test_a_value_that_is_too_old_is_still_found_at_once(world: World) -> None:
    world.run(*CHUNK, PUBLISHED)
    write_online(world)
    world.online.retract(online_rows(("u2", "a", 14.0, 114, 214)))
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert found[NEWEST][0].startswith("u2 a: online has nothing")
