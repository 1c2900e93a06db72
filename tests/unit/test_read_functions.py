"""Functions that take windows: the same answers from history and online, whatever is asked for beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.errors import Refused
from cluster.records import ROWS_SCHEMA, SourceKind
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, FileSource, Long, feature
from cluster.serving.asof import Terms, point_in_time
from cluster.serving.computed import base_of, complete
from cluster.serving.online import STATUSES, At, OnlineAnswer, OnlineFeatureSet
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.windows.panes import panes_of
from tests.window_oracle import Event
from tests.windows_world import SECOND, START, History, World

NOW = START + 100 * SECOND
COUNT = Aggregation("amount", "count", timedelta(hours=1), name="count_1h")
SUM = Aggregation("amount", "sum", timedelta(days=7), name="sum_7d")


@feature()
def mean(count_1h: float, sum_7d: float | None) -> float | None:
    return None if sum_7d is None else sum_7d / count_1h


@feature(mode="numpy", outputs=("above", "below"))
def around(mean: Any, amount: Any) -> Any:
    return np.where(amount > mean, 1.0, 0.0), amount - mean


@feature(mode="pandas")
def twice(below: Any) -> Any:
    return below * 2


VIEW = FeatureView(
    "v", Entity("user", "user"), FileSource("s", Long()), [twice, around, mean, Field("amount"), COUNT, SUM], online=True
)
CATALOG: Catalog = build("shop", [VIEW])
ASKED = ["twice", "amount", "mean", "sum_7d", "above"]
#: Of a: three amounts, 1, 2 and 6, the last one now; of b: none.
EXPECTED = {"twice": [6.0, None], "amount": [6.0, None], "mean": [3.0, None], "sum_7d": [9.0, None], "above": [1.0, 0.0]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    history = History(tmp_path)
    world = World(history, [COUNT, SUM], now=NOW)
    rows = [Event("a", "amount", NOW - (2 - n) * SECOND, NOW, n, 1, value) for n, value in enumerate((1.0, 2.0, 6.0))]
    history.commit(SourceKind.STREAM, rows)
    yield world
    history.close()


def read_online(world: World, names: list[str], entities: list[str]) -> OnlineAnswer:
    features = OnlineFeatureSet.of(CATALOG.resolve(names), panes_of(CATALOG))
    online = MemoryOnlineStore()
    row = {"entity_id": ["a"], "feature_name": ["amount"], "value": [6.0], "event_timestamp": [NOW], "created_at": [NOW]}
    online.write(pa.table({**row, "position": [2]}).cast(ROWS_SCHEMA))
    answer = features.judge(online.read(entities, features.stored), NOW)
    if not features.windows.specs:
        return answer
    cells = world.store.read(features.windows.panes, entities)
    return features.complete(answer, features.windows.values(cells, NOW), At(NOW, 5.0))


def values(answer: OnlineAnswer) -> list[list[float | None]]:
    return [[None if np.isnan(v) else v for v in row] for row in answer.values.tolist()]


def test_they_run_on_answers_from_history(world: World) -> None:
    asked = pa.table({"user": ["a", "b"], "event_timestamp": pa.array([NOW] * 2, pa.timestamp("us"))})
    joined = point_in_time(world.history.reads, asked, CATALOG.resolve(ASKED))
    assert joined.column_names[2:] == ASKED
    assert {name: joined[name].to_pylist() for name in ASKED} == EXPECTED
    full = point_in_time(world.history.reads, asked, CATALOG.resolve(["mean"]), Terms(full_names=True))
    assert full.column_names[2:] == ["v__mean"]


def test_they_run_on_answers_from_the_online_store(world: World) -> None:
    world.publisher.look()
    answer = read_online(world, ASKED, ["a", "b"])
    assert dict(zip(ASKED, values(answer), strict=True)) == EXPECTED
    statuses = [[STATUSES[number - 1] for number in row] for row in answer.statuses.tolist()]
    assert statuses == [
        ["PRESENT", "NULL_VALUE"],
        ["PRESENT", "NOT_FOUND"],
        ["PRESENT", "NULL_VALUE"],
        ["PRESENT", "NULL_VALUE"],
        ["PRESENT", "PRESENT"],
    ]
    assert answer.event_timestamps[:, 0].tolist() == [NOW] * 5


@pytest.mark.parametrize("name", ["twice", "below", "mean", "count_1h", "amount"])
def test_each_can_be_asked_for_alone(world: World, name: str) -> None:
    world.publisher.look()
    online = values(read_online(world, [name], ["b", "a", "a"]))
    asked = pa.table({"user": ["b", "a", "a"], "event_timestamp": pa.array([NOW] * 3, pa.timestamp("us"))})
    assert online == [point_in_time(world.history.reads, asked, CATALOG.resolve([name]))[name].to_pylist()]


def test_what_has_to_be_read_is_named_once() -> None:
    assert [spec.name for spec in base_of(CATALOG.resolve(["twice", "sum_7d", "mean"]))] == ["count_1h", "sum_7d", "amount"]


def test_of_nobody_there_is_nothing_to_compute() -> None:
    found = complete(CATALOG.resolve(["twice"]), {name: np.empty(0) for name in ("count_1h", "sum_7d", "amount")})
    assert found["twice"].tolist() == []


def test_a_function_that_fails_is_an_error_that_names_it() -> None:
    @feature()
    def share(count_1h: float, sum_7d: float) -> float:
        return sum_7d / count_1h

    view = FeatureView("v", VIEW.entity, VIEW.source, [share, Field("amount"), COUNT, SUM], online=True)
    answers = {"count_1h": np.array([1.0, 0.0]), "sum_7d": np.array([2.0, 1.0])}
    with pytest.raises(Refused, match=r"feature share: ZeroDivisionError.*for 1 of 2 answers"):
        complete(build("shop", [view]).resolve(["share"]), answers)
