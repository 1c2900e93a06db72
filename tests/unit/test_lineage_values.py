"""Where a stored value came from, on a real DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import NotFound
from cluster.lineage.features import Change, feature_lineage, stored_versions
from cluster.lineage.values import Asked, ValueLineage, value_lineage
from cluster.records import Origin, SourceKind
from cluster.serving.online import Status
from tests.lineage_world import CATALOG, DAY, NOW, LineageWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineageWorld]:
    made = LineageWorld(Path(tmp_path_factory.mktemp("lineage")))
    yield made
    made.close()


def value(world: LineageWorld, entity: str, feature: str, at: int | None = None, now: int = NOW + 2 * DAY) -> ValueLineage:
    return value_lineage(world.reads, CATALOG, Asked(entity, feature, None if at is None else NOW + at), now)


def committed(world: LineageWorld, position: int) -> int:
    query = "SELECT epoch_us(committed_at) AS at FROM batches WHERE first_position <= ? AND next_position > ? AND epoch > 0"
    [at] = world.reads.query(query, [position, position])["at"].to_pylist()
    return int(at)


def test_the_newest_value_of_a_stream(world: LineageWorld) -> None:
    found = value(world, "user_1", "order:total")
    assert (found.feature, found.view, found.value, found.status) == ("total", "order", 4.5, Status.PRESENT)
    assert (found.origin, found.position) == (Origin.stream("shop.orders", 0, 2), 4)
    assert (found.event_timestamp, found.created_at) == (NOW + 2 * DAY, NOW + 2 * DAY + 5)
    assert found.committed_at == committed(world, 4)
    assert [str(node) for node in found.graph.nodes] == [
        "topic shop.orders",
        "source orders",
        "column orders.amount",
        "column orders.rate",
        "function order.total",
        "feature order:total",
    ]


def test_a_value_at_a_time_is_explained_by_the_definitions_of_then(world: LineageWorld) -> None:
    found = value(world, "user_1", "total", at=2 * DAY - 1)
    assert (found.value, found.position, found.origin.registry_version) == (2.5, 1, 1)
    assert found.committed_at == committed(world, 1)
    assert "column orders.rate" not in [str(node) for node in found.graph.nodes], "which came with version 2"
    assert (found.applied_by, found.applied_at is not None) == ("me", True)


def test_a_row_of_a_file(world: LineageWorld) -> None:
    found = value(world, "user_1", "person:amount")
    assert (found.value, found.position, found.upload_name) == (7.0, 0, "people.csv")
    assert found.origin == Origin.upload("up-1", 2)
    assert found.committed_at is not None
    assert [str(node) for node in found.graph.nodes] == ["source people", "column people.amount", "feature person:amount"]


def test_a_replayed_record_has_its_own_place_and_the_time_of_the_replay(world: LineageWorld) -> None:
    found = value(world, "user_3", "total")
    assert (found.value, found.position, found.origin.kind) == (3.5, 3, SourceKind.REPLAY)
    assert (found.origin.topic, found.origin.partition, found.origin.registry_version) == ("shop.orders", 0, 2)
    [replayed_at] = world.reads.query("SELECT epoch_us(replayed_at) AS at FROM quarantine")["at"].to_pylist()
    assert found.committed_at == replayed_at


@pytest.mark.parametrize(
    ("entity", "at", "now", "status"),
    [
        ("user_1", None, NOW + 9 * DAY, Status.PRESENT),
        ("user_1", None, NOW + 9 * DAY + 1, Status.OUTSIDE_MAX_AGE),
        ("user_1", None, NOW, Status.PRESENT),  # an event of the future
        ("user_1", 9 * DAY + 1, NOW, Status.OUTSIDE_MAX_AGE),
        ("user_2", None, NOW + DAY, Status.NULL_VALUE),
        ("user_2", 8 * DAY + 1, NOW, Status.OUTSIDE_MAX_AGE),
    ],
)
def test_the_status_is_that_of_a_read_then(world: LineageWorld, entity: str, at: int | None, now: int, status: Status) -> None:
    assert value(world, entity, "total", at, now).status is status


def test_what_is_not_there(world: LineageWorld) -> None:
    with pytest.raises(NotFound, match="history has no value of 'order:total' for this entity: check"):
        value(world, "nobody", "total")
    with pytest.raises(NotFound, match="for this entity at or before that time: check"):
        value(world, "user_1", "total", at=-1)
    with pytest.raises(NotFound, match="did you mean 'total'"):
        value(world, "user_1", "totla")


def test_a_features_versions_come_from_the_registry(world: LineageWorld) -> None:
    found = feature_lineage(CATALOG, "total", stored_versions(world.reads))
    assert [(v.version, v.change, v.what, v.applied_by) for v in found.versions] == [
        (1, Change.ADDED, (), "me"),
        (2, Change.CHANGED, ("column orders.rate is new", "function order.total changed"), "me"),
    ]
    assert found.versions[0].applied_at < found.versions[1].applied_at
