"""Each promise broken on purpose: exactly the check that watches it must fail."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from cluster.stores.memory_online import MemoryOnlineStore
from cluster.verify import newest, verify
from tests.verify_world import (
    ACCOUNT,
    BACKFILLED,
    HISTORY,
    INSIDE,
    KAFKA,
    LEDGER,
    NEWEST,
    ONCE,
    REPLAYED,
    SOURCES,
    UPLOADS,
    World,
    failing,
    healthy_world,
)


@pytest.fixture
def world() -> Iterator[World]:
    world = healthy_world()
    yield world
    world.connection.close()


def test_a_healthy_store(world: World) -> None:
    report = world.verify()
    assert failing(report) == {}
    assert {check.name: check.checked for check in report.checks} == {
        LEDGER: 4,
        KAFKA: 2,
        SOURCES: 50,
        ONCE: 9 + 10 + 8 + 3 + 2,
        INSIDE: 9 + 10 + 8 + 1,
        ACCOUNT: 9 + 10 + 8 + 3 + 2,
        REPLAYED: 0,
        BACKFILLED: 0,
        UPLOADS: 3,
        NEWEST: 4 + 4 + 4,
        HISTORY: 8,
    }
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert world.clock.now == 0, "nothing to wait for"


def test_an_empty_store(world: World) -> None:
    world.run(*(f"DELETE FROM {name}" for name in ("features", "sources", "batches", "partitions", "quarantine", "uploads")))
    world.online = MemoryOnlineStore()
    world.ends = {}
    assert failing(world.verify()) == {}


BREAKS: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "first ledger row gone": (
        ["DELETE FROM batches WHERE first_position = 5"],
        {
            INSIDE: "t[0]: positions 5 to 24 are stored, the ledger has 10 up to",
            ACCOUNT: "t[0]: 19 events are stored, the ledger counts 15",
        },
    ),
    "ledger row in the middle gone": (
        ["DELETE FROM batches WHERE first_position = 10"],
        {
            LEDGER: "t[0]: a batch starts at 15, the one before ended at 10",
            ACCOUNT: "t[0]: 19 events are stored, the ledger counts 14",
        },
    ),
    "empty range missing": (
        [
            "UPDATE batches SET next_position = 9 WHERE first_position = 0 AND source_id = 3",
            'UPDATE partitions SET next_offset = 10 WHERE "partition" = 1',
        ],
        {LEDGER: "t[1]: the ledger ends at 9, the partition goes on at 10"},
    ),
    "overlap": (
        ["UPDATE batches SET first_position = 14 WHERE first_position = 15"],
        {LEDGER: "t[0]: a batch starts at 14, the one before ended at 15"},
    ),
    "offset not moved": (
        ['UPDATE partitions SET next_offset = 24 WHERE "partition" = 0'],
        {LEDGER: "t[0]: the ledger ends at 25, the partition goes on at 24"},
    ),
    "partition forgotten": (
        ['DELETE FROM partitions WHERE "partition" = 1'],
        {LEDGER: "t[1]: the ledger ends at 10, the partition goes on at an unknown offset"},
    ),
    "position twice, and the ledger says so": (
        [
            "INSERT INTO features FROM features WHERE source_id = 3 AND position = 2",
            'UPDATE batches SET "rows" = 9 WHERE source_id = 3',
        ],
        {ONCE: "t[1]: position 2 has b 2 times"},
    ),
    "position under two versions": (
        [
            "INSERT INTO features SELECT * REPLACE (2 AS source_id) FROM features WHERE source_id = 1 AND position = 12",
            'UPDATE batches SET "rows" = "rows" + 1 WHERE first_position = 15',
        ],
        {ONCE: "t[0]: position 12 has a 2 times"},
    ),
    "taken and rejected": (
        [
            "INSERT INTO quarantine (source_id, position) VALUES (2, 12)",
            "UPDATE batches SET rejected = 1, next_position = next_position WHERE first_position = 10",
            "UPDATE batches SET events = 5 WHERE first_position = 10",
        ],
        {
            ONCE: "t[0]: position 12 is in features and in quarantine",
            ACCOUNT: "t[0]: the ledger counts 21 records in 20 positions",
        },
    ),
    "rejected twice": (
        [
            "INSERT INTO quarantine FROM quarantine WHERE source_id = 1",
            "UPDATE batches SET rejected = 2, events = 4 WHERE first_position = 5",
        ],
        {ONCE: "t[0]: position 7 is in quarantine 2 times", ACCOUNT: "t[0]: the ledger counts 21 records in 20 positions"},
    ),
    "reject dropped": (
        ["DELETE FROM quarantine WHERE source_id = 1"],
        {ACCOUNT: "t[0]: 0 rejects are stored, the ledger counts 1"},
    ),
    "event dropped": (
        ["DELETE FROM features WHERE source_id = 3 AND position = 0"],
        {ACCOUNT: "t[1]: 7 events are stored, the ledger counts 8"},
    ),
    "one row of an event dropped": (
        ["DELETE FROM features WHERE source_id = 2 AND position = 16 AND feature_name = 'c'"],
        {ACCOUNT: "t[0]: 38 rows are stored, the ledger counts 39"},
    ),
    "rows from nowhere": (
        ["INSERT INTO features SELECT * REPLACE (77 AS source_id) FROM features WHERE source_id = 1 LIMIT 1"],
        {SOURCES: "features: 1 rows of source_id 77"},
    ),
    "position beyond the ledger": (
        ["UPDATE features SET position = 99 WHERE source_id = 3 AND position = 7"],
        {INSIDE: "t[1]: positions 0 to 99 are stored, the ledger has 0 up to but not including 10"},
    ),
    "half an upload": (
        [
            "DELETE FROM features WHERE source_id = 4 AND position = 1",
            'UPDATE batches SET events = 2, "rows" = 2 WHERE source_id = 4',
        ],
        {UPLOADS: "upload up1: 2 records are stored, uploads counts 3"},
    ),
    "upload's reject gone": (
        ["DELETE FROM quarantine WHERE source_id = 4", "UPDATE batches SET rejected = 0 WHERE source_id = 4"],
        {UPLOADS: "upload up1: 0 rejects are stored, uploads counts 1"},
    ),
    "rows of a failed upload": (
        ["UPDATE uploads SET state = 'FAILED' WHERE upload_id = 'up1'"],
        {UPLOADS: "upload up1: is FAILED, but 3 rows and 1 rejects are stored"},
    ),
    "rows of an unfinished upload": (
        ["UPDATE uploads SET state = 'PROCESSING' WHERE upload_id = 'up1'"],
        {UPLOADS: "upload up1: is PROCESSING"},
    ),
    "upload committed without its rows": (
        ["UPDATE uploads SET state = 'DONE', \"rows\" = 5 WHERE upload_id = 'up3'"],
        {UPLOADS: "upload up3: 0 records are stored, uploads counts 5"},
    ),
    "upload unknown": (
        ["DELETE FROM uploads WHERE upload_id = 'up1'"],
        {UPLOADS: "upload up1: has rows, but uploads does not know it"},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_and_nothing_else(world: World, name: str) -> None:
    statements, expected = BREAKS[name]
    world.run(*statements)
    world.online = MemoryOnlineStore()
    world.sync_online()

    found = failing(world.verify())

    assert set(found) == set(expected)
    for check, text in expected.items():
        assert found[check][0].startswith(text)


def filter_in_version(world: World, version: int) -> None:
    """Say that a view of this version has a `where`, as the registry does."""
    views = {"v": {"where": {"name": "paid"}}, "w": {"where": None}}
    definition = json.dumps({"views": views if version else {"w": {"where": None}}})
    world.run(f"INSERT INTO registry_versions (version, definition) VALUES ({version}, '{definition}')")


def test_events_that_a_filter_left_out_are_accounted_for(world: World) -> None:
    filter_in_version(world, 2)
    world.run("UPDATE batches SET events = events + 3, next_position = 28 WHERE first_position = 15")
    world.run("UPDATE partitions SET next_offset = 28 WHERE next_offset = 25")
    world.ends["t", 0] = 28
    assert failing(world.verify()) == {}


def test_files_that_a_filter_left_rows_out_of_are_whole(world: World) -> None:
    filter_in_version(world, 1)
    world.run(
        "UPDATE batches SET events = 4, next_position = 5 WHERE source_id = 4", "UPDATE uploads SET rows = 4 WHERE rows = 3"
    )
    assert failing(world.verify()) == {}


@pytest.mark.parametrize("version", [0, 1])
def test_other_versions_have_no_events_without_rows(world: World, version: int) -> None:
    filter_in_version(world, version)
    world.run(
        "UPDATE batches SET events = 9, next_position = 10 WHERE source_id = 3", "DELETE FROM sources WHERE source_id = 2"
    )
    world.run("DELETE FROM features WHERE source_id = 2", "DELETE FROM batches WHERE source_id = 2")
    told = failing(world.verify()).get(ACCOUNT, ())
    assert told == (() if version else ("t[1]: 8 events are stored, the ledger counts 9",))


def test_a_lost_event_shows_although_there_is_a_filter(world: World) -> None:
    filter_in_version(world, 1)
    world.run("DELETE FROM features WHERE source_id = 3 AND position = 2")
    assert failing(world.verify())[ACCOUNT] == ("t[1]: 7 rows are stored, the ledger counts 8",)


def test_many_offenders_are_counted_and_ten_are_shown(world: World) -> None:
    world.run("INSERT INTO features FROM features WHERE source_id = 2", 'UPDATE batches SET "rows" = 60 WHERE source_id = 2')
    [once] = [check for check in world.verify().checks if check.offenders]
    assert (once.name, once.offenders, len(once.examples)) == (ONCE, 30, 10)


def test_more_features_than_bits(world: World) -> None:
    world.run(
        "INSERT INTO features SELECT 'u', 'f' || p, 0, now()::TIMESTAMP, now()::TIMESTAMP, 3, 9 FROM range(200) r(p)",
        'UPDATE batches SET events = 9, "rows" = 208 WHERE source_id = 3',
    )
    assert failing(world.verify()) == {}


def test_behind_kafka_is_told_and_ahead_is_wrong(world: World) -> None:
    world.ends = {("t", 0): 30, ("t", 1): 9, ("new", 0): 4}
    report = world.verify()
    assert failing(report) == {KAFKA: ("t[1]: the ledger is at 10, Kafka ends at 9: was the topic made anew?",)}
    assert [(p.topic, p.partition, p.first, p.next, p.end, p.behind) for p in report.partitions] == [
        ("new", 0, 0, 0, 4, 4),
        ("t", 0, 5, 25, 30, 5),
        ("t", 1, 0, 10, 9, -1),
        ("t", 2, 0, 0, None, None),
    ]


def test_without_kafka(world: World) -> None:
    report = verify(world, world.online, world.catalog, None, clock=world.clock)
    assert failing(report) == {}
    assert {p.behind for p in report.partitions} == {None}


def test_kafka_is_asked_after_the_ledger_was_read(world: World) -> None:
    asked: list[str] = []
    original = world.query

    def query(sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        asked.append(sql)
        return original(sql, parameters)

    world.query = query  # type: ignore[method-assign]
    verify(world, world.online, world.catalog, lambda: asked.append("Kafka") or world.ends, clock=world.clock)  # type: ignore[func-returns-value]
    assert "FROM partitions" in asked[0]
    assert asked[1] == "Kafka"


@pytest.mark.parametrize("at_once", [1, 3, 20_000])
def test_the_online_store_is_compared_in_parts(world: World, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(newest, "ENTITIES_AT_ONCE", at_once)
    monkeypatch.setattr("cluster.verify.compare.ENTITIES_PER_READ", 2)
    assert failing(world.verify()) == {}
    world.run("UPDATE features SET value = value + 1 WHERE feature_name = 'b' AND source_id = 3")
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert len(found[NEWEST]) == 4
    assert all("x" in text and "with another value" in text for text in found[NEWEST])
    assert np.isclose(world.clock.now, 10), "equal times may still settle"


def replayed_world(state: str = "DONE") -> World:
    """Return the healthy world after t[0]'s position 7 and up1's row 3 were replayed."""
    world = healthy_world()
    world.run(
        """INSERT INTO sources VALUES (5, 'replay', 't', 0, NULL, 2, '2026-01-02', 0, NULL),
            (6, 'replay', NULL, NULL, 'up1', 2, '2026-01-02', 0, NULL)""",
        """INSERT INTO features VALUES ('u3', 'a', 7, make_timestamp(999), make_timestamp(207), 5, 7),
            ('u3', 'b', 7, make_timestamp(107), make_timestamp(207), 5, 7),
            ('new', 'a', 3, make_timestamp(150), make_timestamp(200), 6, 3)""",
        """INSERT INTO batches VALUES (5, 7, 8, 1, 2, 0, 0, now()::TIMESTAMP), (6, 3, 4, 1, 1, 0, 0, now()::TIMESTAMP)""",
        "UPDATE quarantine SET replayed_at = now()::TIMESTAMP",
        f"INSERT INTO replays VALUES ('r1', 5, 7, 8, 1, '{state}', now()::TIMESTAMP), ('r2', 6, 3, 4, 1, 'DONE', NULL)",
    )
    return world


def test_replays_are_accounted_for() -> None:
    world = replayed_world()
    world.sync_online()
    report = world.verify()
    assert failing(report) == {}
    assert {check.name: check.checked for check in report.checks if check.name in {ONCE, REPLAYED, UPLOADS}} == {
        ONCE: 9 + 10 + 8 + 3 + 2 + 2,
        REPLAYED: 2,
        UPLOADS: 3,
    }


REPLAY_BREAKS: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {
    "mark without rows": (
        [
            "INSERT INTO quarantine (source_id, position, replayed_at) VALUES (3, 8, now()::TIMESTAMP)",
            "UPDATE batches SET rejected = 1 WHERE source_id = 3",
        ],
        {REPLAYED: "t[1]: position 8 is marked as replayed, but has no rows of a replay"},
    ),
    "rows of a mark gone": (
        ["DELETE FROM features WHERE source_id = 6", "DELETE FROM batches WHERE source_id = 6", "DELETE FROM replays"],
        {REPLAYED: "upload up1: position 3 is marked as replayed, but has no rows of a replay"},
    ),
    "mark gone": (
        ["UPDATE quarantine SET replayed_at = NULL WHERE source_id = 1"],
        {REPLAYED: "t[0]: position 7 has rows of a replay, but is not marked as replayed"},
    ),
    "reject gone": (
        ["DELETE FROM quarantine WHERE source_id = 1", "UPDATE batches SET rejected = 0 WHERE source_id = 1"],
        {REPLAYED: "t[0]: position 7 has rows of a replay, but is not marked as replayed"},
    ),
    "replay of what was not rejected": (
        [
            "INSERT INTO features SELECT * REPLACE (5 AS source_id) FROM features WHERE source_id = 2 AND position = 16",
            'UPDATE batches SET events = 2, "rows" = 5, next_position = 17 WHERE source_id = 5',
            "UPDATE replays SET events = 2, next_position = 17 WHERE source_id = 5",
        ],
        {REPLAYED: "t[0]: position 16 has rows of a replay, but is not marked as replayed"},
    ),
    "replayed under two versions": (
        [
            "INSERT INTO sources VALUES (7, 'replay', 't', 0, NULL, 3, '2026-01-02', 0, NULL)",
            "INSERT INTO features SELECT * REPLACE (7 AS source_id) FROM features WHERE source_id = 5",
            "INSERT INTO batches SELECT * REPLACE (7 AS source_id) FROM batches WHERE source_id = 5",
        ],
        {
            ONCE: "replays of t[0]: position 7 has ",
            ACCOUNT: "replays of t[0]: 1 events are stored, the ledger counts 2",
        },
    ),
    "ledger row gone": (
        ["DELETE FROM batches WHERE source_id = 5"],
        {
            ACCOUNT: "replays of t[0]: 1 events are stored, the ledger counts 0",
            REPLAYED: "replay r1: 1 records from position 7",
        },
    ),
    "a row too few": (
        ["DELETE FROM features WHERE source_id = 5 AND feature_name = 'b'"],
        {ACCOUNT: "replays of t[0]: 1 rows are stored, the ledger counts 2"},
    ),
}


@pytest.mark.parametrize("name", REPLAY_BREAKS)
def test_a_replay_that_is_broken_is_found_and_nothing_else(name: str) -> None:
    world = replayed_world()
    statements, expected = REPLAY_BREAKS[name]
    world.run(*statements)
    world.sync_online()
    found = failing(world.verify())
    assert set(found) == set(expected)
    for check, text in expected.items():
        assert found[check][0].startswith(text)


def test_a_replay_may_still_be_on_its_way_to_redis() -> None:
    world = replayed_world("COMMITTED")
    world.clock.meanwhile = [lambda: None, world.sync_online]
    world.run("DELETE FROM features WHERE source_id = 6", "DELETE FROM batches WHERE source_id = 6")
    world.run("DELETE FROM replays WHERE source_id = 6", "UPDATE quarantine SET replayed_at = NULL WHERE source_id = 4")
    assert failing(world.verify()) == {}
    assert world.clock.now > 0


@pytest.mark.parametrize(("state", "seconds"), [("COMMITTED", 10), ("DONE", 0)])
def test_a_replay_that_never_reaches_redis(state: str, seconds: float) -> None:
    world = replayed_world(state)
    world.run("UPDATE features SET event_timestamp = make_timestamp(1) WHERE source_id = 6")
    world.run("UPDATE features SET entity_id = 'u1' WHERE source_id = 6")
    found = failing(world.verify())
    assert set(found) == {NEWEST}
    assert world.clock.now == pytest.approx(seconds)


DECLARED = "INSERT INTO abandoned VALUES ('t', {}, {}, {}, {}, 'retention', 'me', '2026-01-03')"


def reset_world() -> World:
    """Return the healthy world after t[0] gave up 25 to 29, and t[1] began anew with positions that it had before."""
    world = healthy_world()
    world.run(
        "INSERT INTO batches VALUES (2, 25, 30, 0, 0, 0, 3, now()::TIMESTAMP)",
        DECLARED.format(0, 0, 25, 30),
        """UPDATE partitions SET next_offset = 30, epoch = 3 WHERE "partition" = 0""",
        DECLARED.format(1, 0, 10, "NULL"),
        "INSERT INTO sources VALUES (8, 'stream', 't', 1, NULL, 1, '2026-01-03', 1, NULL)",
        """INSERT INTO features SELECT 'y' || p % 4, 'b', p, make_timestamp(500 + p), make_timestamp(600 + p), 8, p
            FROM range(0, 6) r(p)""",
        "INSERT INTO batches VALUES (8, 0, 6, 6, 6, 0, 2, now()::TIMESTAMP)",
        """UPDATE partitions SET next_offset = 6, incarnation = 1, epoch = 2 WHERE "partition" = 1""",
    )
    world.ends = {("t", 0): 31, ("t", 1): 6}
    world.online = MemoryOnlineStore()
    world.sync_online()
    return world


def test_declared_loss_is_told_for_ever_and_is_no_offence() -> None:
    report = reset_world().verify()
    assert failing(report) == {}
    told = [(d.topic, d.partition, d.first, d.next, d.offsets, d.declared_by) for d in report.declared]
    assert sorted(told, key=str) == [("t", 0, 25, 30, 5, "me"), ("t", 1, 10, None, None, "me")]
    assert [(p.first, p.next, p.behind) for p in report.partitions] == [(5, 30, 1), (0, 6, 0), (0, 0, None)]
    assert len(json.loads(json.dumps(report.to_dict()))["declared"]) == 2


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (
            ["DELETE FROM batches WHERE first_position = 25"],
            {LEDGER: "t[0]: the ledger ends at 25, the partition goes on at 30"},
        ),
        (
            ["DELETE FROM abandoned WHERE next_position IS NULL"],
            {LEDGER: "t[1]: the ledger ends at 10, the partition goes on at an"},
        ),
        (
            [DECLARED.format(0, 0, 5, 10)],
            {LEDGER: "t[0]: 5 up to 10 were declared as lost, the ledger has no such range"},
        ),
        (
            [
                "INSERT INTO features FROM features WHERE source_id = 8 AND position = 2",
                'UPDATE batches SET "rows" = 7 WHERE source_id = 8',
            ],
            {ONCE: "t[1] (incarnation 1): position 2 has b 2 times"},
        ),
        (
            ["INSERT INTO features SELECT * REPLACE (27 AS position) FROM features WHERE source_id = 2 AND position = 24"],
            {ACCOUNT: "t[0]: 20 events are stored, the ledger counts 19"},
        ),
    ],
)
def test_what_is_broken_after_resets_is_found_and_nothing_else(statements: Sequence[str], expected: Mapping[str, str]) -> None:
    world = reset_world()
    world.run(*statements)
    found = failing(world.verify())
    assert set(found) == set(expected)
    for check, text in expected.items():
        assert found[check][0].startswith(text)
