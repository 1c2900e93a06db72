"""Windows online against nested loops: late, doubled, replaced, from the future, from several sources, whatever dies."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import RetryLater
from cluster.records import SourceKind
from cluster.registry.aggregation import Aggregation, Function
from tests.window_oracle import Event
from tests.windows_world import SECOND, History, World

ENTITIES = ["1", "2", "3", "nobody"]
VALUES = [None, -3.0, -1.0, 0.0, 1.0, 2.0, 0.1, 1e15, -1e15]
WINDOWS = [(1, 1), (6, 3), (10, 5), (12, 12)]  # seconds of window and hop
STREAMS, FILES, REPLAYS, BACKFILLS = 1, 100, 50, 1_000  # source ids begin here


def aggregation(function: str, window: int, hop: int, filter_: str | None = None) -> Aggregation:
    name = f"{function}_{window}_{hop}_{filter_ or 'all'}"
    return Aggregation("amount", function, timedelta(seconds=window), timedelta(seconds=hop), filter_, name)


EVERY = [aggregation(function, 6, 2) for function in Function] + [aggregation("sum", 10, 2), aggregation("count", 2, 2)]
EVERY += [aggregation(function, *window) for function, window in product(("count", "mean", "last"), WINDOWS)]
EVERY += [aggregation(function, 6, 2, "paid") for function in ("count", "sum", "first", "count_distinct")]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    history = History(tmp_path_factory.mktemp("windows"))
    yield history
    history.close()


class Life:
    """A random life of a world, drawn from a seed."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random = world, random
        self.files = self.backfills = 0
        self.copies = [copy.deepcopy(world.store.__dict__)]

    def records(self, source_id: int, most: int = 4) -> list[Event]:
        """Return new records of a source, each with the feature that is aggregated and its filter."""
        first = self.world.history.next_position(source_id)
        found = []
        for position in range(first, first + self.random.randint(1, most)):
            found += self.record(source_id, position, self.random.choice(ENTITIES[:3]), self.moment())
        return found

    def record(self, source_id: int, position: int, entity: str, event: int) -> list[Event]:
        created = event + self.random.choice([0, 0, 1, 5])
        amount, paid = self.random.choice(VALUES), self.random.choice([0.0, 1.0, None])
        features = [("amount", amount), ("paid", paid)]
        return [Event(entity, name, event, created, position, source_id, value) for name, value in features]

    def moment(self) -> int:
        """Return a time near now, often at the edge of a hop, sometimes in the future or long ago."""
        seconds = self.random.choice([*range(-13, 1), 0, 0, 2, 5, -40])
        near: int = (self.world.now // SECOND + seconds) * SECOND
        return near + int(self.random.choice([0, 0, -1, 1, 400_000]))

    def stream(self) -> None:
        self.world.history.commit(SourceKind.STREAM, self.records(STREAMS + self.random.randint(0, 2)))

    def file(self) -> None:
        self.files += 1
        self.world.history.commit(SourceKind.UPLOAD, self.records(FILES + self.files, 12))

    def replay(self) -> None:
        # Positions between others, of a source that had replays before.
        taken = {e.position for e in self.world.history.events if e.source_id == REPLAYS}
        positions = self.random.sample([p for p in range(200) if p not in taken], self.random.randint(1, 3))
        found = [e for p in positions for e in self.record(REPLAYS, p, self.random.choice(ENTITIES[:3]), self.moment())]
        self.world.history.commit(SourceKind.REPLAY, found)

    def backfill(self) -> None:
        """Compute some records again: other values, sometimes none, sometimes another entity or time."""
        records = sorted({(e.source_id, e.position) for e in self.world.history.events})
        self.backfills += 1
        chosen = self.random.sample(records, min(len(records), 3))
        old = [e for e in self.world.history.events if (e.source_id, e.position) in chosen]
        new = [e for e in old if self.random.random() < 0.8]
        # One source, though the records were of several: positions of its own.
        places = {place: n for n, place in enumerate(dict.fromkeys((e.source_id, e.position) for e in old))}
        new = [e._replace(position=places[e.source_id, e.position]) for e in new]
        new = [e._replace(source_id=BACKFILLS + self.backfills, value=self.random.choice(VALUES)) for e in new]
        if self.random.random() < 0.3:  # the records are read in another way: by all features alike
            entity = {position: self.random.choice(ENTITIES[:3]) for position in places.values()}
            new = [e._replace(event=e.event + SECOND, entity_id=entity[e.position]) for e in new]
        if new:
            self.world.history.commit(SourceKind.BACKFILL, new, replaced=old)

    def time_passes(self) -> None:
        self.world.now += self.random.choice([1, 400_000, SECOND, 3 * SECOND, 7 * SECOND])

    def look(self) -> None:
        self.world.publisher.look()

    def die(self) -> None:
        """Let the publisher die at some step; the next one is another."""
        self.world.shaky.steps_left = self.random.randint(0, 6)
        with contextlib.suppress(RetryLater):
            self.look()
        self.world.shaky.steps_left = -1
        if self.random.random() < 0.5:
            self.world.start()

    def forget(self) -> None:
        """Empty the online store."""
        self.world.store.__dict__.update(copy.deepcopy(self.copies[0]))

    def remember(self) -> None:
        self.copies.append(copy.deepcopy(self.world.store.__dict__))

    def fall_back(self) -> None:
        """Let the online store be what it was some time ago."""
        self.world.store.__dict__.update(copy.deepcopy(self.random.choice(self.copies)))

    def settle(self) -> None:
        """Look twice: what was in doubt at the first look is added up at the second."""
        self.look()
        self.look()


STEPS = ["stream"] * 6 + ["file", "replay", "backfill", "forget", "remember", "fall_back"] + ["time_passes"] * 4
STEPS += ["die"] * 3 + ["settle"] * 4


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**9), st.lists(st.sampled_from(STEPS), min_size=3, max_size=25))
def test_windows_online_are_what_nested_loops_find(history: History, seed: int, steps: list[str]) -> None:
    history.empty()
    random = Random(seed)
    world = World(history, random.sample(EVERY, 6))
    life = Life(world, random)
    for step in [*steps, "settle"]:
        getattr(life, step)()
        if step == "settle":
            check(world)


def check(world: World) -> None:
    found, expected = world.online(ENTITIES), world.expected(ENTITIES)
    for one in world.aggregations:
        values = [None if math.isnan(value) else value for value in found[one.name]]
        close = one.function in {"sum", "mean", "std"}
        wanted = expected[one.name]
        # Sums of values that cancel each other: how close they come is measured by the values, not by their sum.
        assert values == ([w if w is None else pytest.approx(w, rel=1e-9, abs=1) for w in wanted] if close else wanted), (
            one.name
        )
