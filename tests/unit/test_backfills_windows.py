"""Windows over what streams, files and backfills leave in history; several outputs of a function are computed anew together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import FeatureView, feature
from cluster.serving.asof import AS_IT_IS, Terms, point_in_time
from tests.backfill_world import NOW, SOURCE, USER, BackfillWorld

DAY = timedelta(days=1)


def definitions(version: int) -> Catalog:
    """Return view `scores`, in which `low` is x times the version, and which has no names that a function has."""

    @feature(outputs=("low", "high"))
    def both(x: float) -> tuple[float, float]:
        return x * version, x * version + 100

    @feature()
    def is_large(x: float) -> bool:
        return x > 1

    windows = [
        Aggregation("low", "sum", DAY),
        Aggregation("high", "count", DAY),
        Aggregation("low", "last", DAY, filter="is_large"),
    ]
    return build("p", [FeatureView("scores", USER, SOURCE, [both, is_large, *windows])]).registered_as(version)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackfillWorld]:
    world = BackfillWorld(tmp_path)
    world.catalog = definitions(1)
    world.send(("a", 10, 1.0), ("a", 20, 2.0), ("a", 20, 2.0), ("b", 30, 4.0))
    world.stream()
    yield world
    world.close()


def windows(world: BackfillWorld, user: str = "a", terms: Terms = AS_IT_IS) -> list[Any]:
    asked = pa.table({"user_id": [user], "event_timestamp": pa.array([NOW + 1000], pa.timestamp("us"))})
    specs = [spec for spec in world.catalog.features.values() if spec.aggregation]
    return list(point_in_time(world.reads, asked, specs, terms).to_pylist()[0].values())[2:]


def test_two_records_are_two_events(world: BackfillWorld) -> None:
    assert windows(world) == [5.0, 3.0, 2.0]


def test_late_events_and_files_count_from_their_commit_on_and_once(world: BackfillWorld) -> None:
    world.send(("a", 5, 8.0), partition=1)
    world.stream(1)
    world.stream(1)
    assert windows(world) == [13.0, 4.0, 2.0]
    content = b'{"user_id": "a", "at": %d, "x": 16}\n' % (NOW + 30)
    assert world.upload(content) == world.upload(content)
    assert windows(world) == [29.0, 5.0, 16.0]
    assert windows(world, terms=Terms(known_at_us=NOW + 20)) == windows(world, terms=Terms(known_at_us=NOW + 29))


def test_a_backfill_replaces_what_it_computes_and_all_of_it(world: BackfillWorld) -> None:
    world.catalog = definitions(10)
    world.backfill(15)
    assert windows(world) == [1.0 + 20.0 + 20.0, 3.0, 20.0]
    assert windows(world, "b") == [40.0, 1.0, 40.0]
    for name, shift in (("low", 0), ("high", 100)):
        found = [(value, kind) for value, kind, _ in world.scores(feature=name).values()]
        assert found == [(1.0 + shift, "stream"), *[(v + shift, "backfill") for v in (20.0, 20.0, 40.0)]]


def test_a_version_is_read_as_it_was_before_the_backfill(world: BackfillWorld) -> None:
    before = windows(world)
    world.catalog = definitions(10)
    world.backfill()
    assert windows(world, terms=Terms(versions={name: [1] for name in ("low", "high", "is_large")})) == before
