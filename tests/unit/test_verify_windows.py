"""Windows online against windows from history: what is equal, what is wrong, and what is only late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.records import SourceKind
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import Catalog, FeatureSpec, build
from cluster.registry.definitions import Entity, FeatureView, Field, FileSource, Long
from cluster.serving.asof import Terms, point_in_time
from cluster.verify import Report, Windows, verify_windows
from cluster.windows.ports import PaneCells
from cluster.windows.publishing import WindowReport
from tests.verify_world import FakeClock
from tests.window_oracle import Event
from tests.windows_world import SECOND, START, History, World

NAME = "windows online are those of history"
AGGREGATIONS = [
    Aggregation("amount", "count", timedelta(seconds=60)),
    Aggregation("amount", "sum", timedelta(hours=1)),
    Aggregation("amount", "last", timedelta(hours=1)),
]


def event(entity: str, position: int, seconds: int, value: float = 1.0, source: int = 1) -> Event:
    at = START + seconds * SECOND
    return Event(entity, "amount", at, at, position, source, value)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    yield history
    history.close()


@pytest.fixture
def world(history: History) -> World:
    world = World(history, AGGREGATIONS, now=START + 100 * SECOND)
    history.commit(SourceKind.STREAM, [event(e, n, n, n / 3) for n, e in enumerate("abcabc")])
    return world


def catalog(*aggregations: Aggregation) -> Catalog:
    view = FeatureView("v", Entity("user", "user"), FileSource("s", Long()), [Field("amount"), *aggregations], online=True)
    return build("shop", [view])


def report(world: World, clock: FakeClock | None = None, sample: int | None = None) -> Report:
    def historical(rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms) -> pa.Table:
        return point_in_time(world.history.reads, rows, specs, terms)

    windows = Windows(world.store, historical, sample)
    return verify_windows(world.history.reads, windows, catalog(*AGGREGATIONS), clock=clock or FakeClock(), patience_s=5)


def test_equal_windows_are_no_offence(world: World) -> None:
    world.publisher.look()
    [check] = report(world).checks
    assert (check.name, check.checked, check.offenders) == (NAME, 9, 0)


def test_what_is_committed_and_not_counted_yet_is_no_offence(world: World) -> None:
    world.publisher.look()
    world.history.commit(SourceKind.STREAM, [event("a", 6, 50), event("d", 7, 50)])
    world.now += 5 * SECOND
    assert report(world).ok, "the cells are compared with the history that they are of"


def test_a_wrong_cell_is_named_with_both_values(world: World) -> None:
    world.publisher.look()
    pane = world.panes[1]
    ((numbers, cells),) = world.store.read([pane], ["b"]).cells[0]
    world.store.claim("somebody")
    world.store.put("somebody", PaneCells(pane, ["b"], numbers[:1], [cells[0][:8] + cells[0][8:16][::-1] + cells[0][16:]]), 0)
    [check] = report(world).checks
    assert check.offenders == 1
    assert "b: " in check.examples[0]
    assert " online, " in check.examples[0]


def test_a_lost_cell_is_one_too(world: World) -> None:
    world.publisher.look()
    for pane in world.panes:
        world.store.clear(pane)
    [check] = report(world).checks
    assert check.offenders == 3


def test_windows_that_are_never_there_are_one_for_each_entity(world: World) -> None:
    [check] = report(world).checks
    assert check.offenders == 3
    assert "being computed from history" in check.examples[0]


def test_windows_that_come_late_are_none(world: World) -> None:
    clock = FakeClock()
    clock.meanwhile = [world.publisher.look]
    assert report(world, clock).ok


def test_a_sample_is_as_large_as_asked_for(world: World) -> None:
    world.publisher.look()
    assert report(world, sample=2).checks[0].checked == 2 * len(AGGREGATIONS)


def test_without_windows_there_is_nothing_to_check(world: World) -> None:
    windows = Windows(world.store, lambda rows, _specs, _terms: rows, None)
    assert verify_windows(world.history.reads, windows, catalog(), clock=FakeClock(), patience_s=5).checks == ()


def test_definitions_without_windows_leave_nothing_to_catch_up_with(world: World) -> None:
    world.publisher.look()
    world.publisher.report = WindowReport(3, 9)  # it was behind when they were taken out
    world.panes = []
    world.publisher.look()
    assert world.publisher.report.to_go == 0
