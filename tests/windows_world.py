"""Windows online without Ray, Kafka or Redis: a history that tests write to, a clock, and whoever keeps the cells."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import product
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import RetryLater
from cluster.records import SourceKind
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import FeatureSpec
from cluster.serving.online_windows import WindowSet
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.duckdb_schema import CREATE_TABLES
from cluster.stores.duckdb_windows import changes, page
from cluster.stores.memory_windows import MemoryWindowStore
from cluster.verify.newest import ranges
from cluster.windows.panes import Pane, grouped, inputs_of
from cluster.windows.ports import Since, WindowChanges, WindowPage, WindowStore
from cluster.windows.publishing import Publisher
from tests.window_oracle import Event, Question, answer

START = 1_767_225_600_000_000  # µs; on a full hour
SECOND = 1_000_000


def spec(of: Aggregation) -> FeatureSpec:
    return FeatureSpec(of.name, "v", "user", "user", "s", online=True, ttl_us=None, field=None, aggregation=of)


def rows_table(events: Sequence[Event]) -> pa.Table:
    return pa.table(
        {
            "entity_id": pa.array([e.entity_id for e in events], pa.string()),
            "feature_name": pa.array([e.feature for e in events], pa.string()),
            "value": pa.array([e.value for e in events], pa.float64()),
            "event_timestamp": pa.array([e.event for e in events], pa.timestamp("us")),
            "created_at": pa.array([e.created for e in events], pa.timestamp("us")),
            "source_id": pa.array([e.source_id for e in events], pa.int32()),
            "position": pa.array([e.position for e in events], pa.int64()),
        },
    )


class History:
    """The tables that a writer leaves, and the rows that they must hold. Meets WindowHistory."""

    def __init__(self, folder: Path) -> None:
        self.database = DuckDatabase(OfflineStoreConfig(path=str(folder / "windows.duckdb")))
        self.reads = DuckReads(self.database, OfflineStoreConfig())
        self._cursor = self.database.cursor()
        self.page_entities = 2
        self.empty()

    def empty(self) -> None:
        """Begin a new history."""
        self.events: list[Event] = []
        self._kinds: dict[int, SourceKind] = {}
        for table in ("features", "superseded", "batches", "sources"):
            self._cursor.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in CREATE_TABLES:
            self._cursor.execute(statement)

    def close(self) -> None:
        self._cursor.close()
        self.database.close()

    def next_position(self, source_id: int) -> int:
        return 1 + max((e.position for e in self.events if e.source_id == source_id), default=-1)

    def commit(self, kind: SourceKind, events: Sequence[Event], replaced: Sequence[Event] = ()) -> None:
        """Bring rows of one source into history in one transaction, in the place of others."""
        source_id = events[0].source_id
        self._cursor.execute("BEGIN")
        if source_id not in self._kinds:
            self._kinds[source_id] = kind
            self._cursor.execute("INSERT INTO sources (source_id, kind, registry_version) VALUES (?, ?, 1)", [source_id, kind])
        self._cursor.register("new", rows_table(events))
        self._cursor.execute("INSERT INTO features BY NAME FROM new")
        for old in replaced:
            place = [old.source_id, old.position, old.feature]
            where = "WHERE source_id = ? AND position = ? AND feature_name = ?"
            self._cursor.execute(
                f"INSERT INTO superseded BY NAME SELECT *, {source_id} AS superseded_by FROM features {where}", place
            )
            self._cursor.execute(f"DELETE FROM features {where}", place)
        positions = [e.position for e in events]
        ledger = [source_id, min(positions), max(positions) + 1, len(events), len(events)]
        self._cursor.execute(
            'INSERT INTO batches (source_id, first_position, next_position, events, "rows") VALUES (?, ?, ?, ?, ?)', ledger
        )
        self._cursor.execute("COMMIT")
        self.events = [e for e in self.events if e not in replaced] + list(events)

    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
        return changes(self.reads, panes, since, now_us, whole=whole)

    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        return page(self.reads, panes, above, up_to, now_us)

    def window_ranges(self, panes: Sequence[Pane]) -> list[tuple[str, str | None]]:
        return ranges(self.reads, inputs_of(panes), self.page_entities)


class Shaky:
    """A WindowStore whose caller dies at one of its next steps: before it, or right after it."""

    def __init__(self, store: WindowStore) -> None:
        self.store, self.steps_left = store, -1

    def __getattr__(self, name: str) -> object:
        method = getattr(self.store, name)

        def call(*args: object, **options: object) -> object:
            if self.steps_left == 0:
                raise RetryLater("died before the step")
            found = method(*args, **options)
            self.steps_left -= 1
            if self.steps_left == 0:
                raise RetryLater("died after the step")
            return found

        return call


@dataclass
class World:
    """Aggregations, kept online by a publisher that may die."""

    history: History
    aggregations: Sequence[Aggregation]
    store: WindowStore = field(default_factory=MemoryWindowStore)
    now: int = START

    def __post_init__(self) -> None:
        self.shaky = Shaky(self.store)
        self.specs = [spec(a) for a in self.aggregations]
        self.panes = grouped(self.specs)
        self.start()

    def start(self) -> None:
        """Let another publisher take over."""
        self.publisher = Publisher(self.history, self.shaky, lambda: self.panes, lambda: self.now)  # type: ignore[arg-type]

    def online(self, entities: Sequence[str]) -> dict[str, list[float]]:
        """Return what an online read answers, by aggregation."""
        windows = WindowSet.of(self.specs, self.panes)
        values = windows.values(self.store.read(windows.panes, entities), self.now)
        return dict(zip([a.name for a in self.aggregations], values.tolist(), strict=True))

    def expected(self, entities: Iterable[str]) -> dict[str, list[float | None]]:
        """Return what nested loops find."""
        asked = [Question(entity, self.now) for entity in entities]
        return {a.name: [answer(self.history.events, a, q) for q in asked] for a in self.aggregations}


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


class Life:
    """A random life of a world, drawn from a seed."""

    def __init__(self, world: World, random: Random) -> None:
        self.world, self.random = world, random
        self.files = self.backfills = 0
        self.copies: list[dict[str, object]] = []
        self.remember()  # the empty one

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
        """Look until the cells hold everything, and once more: what was in doubt is added to now."""
        report = self.world.publisher.report
        for _ in range(100):
            self.look()
            report = self.world.publisher.report
            if report.end is not None and report.row == report.end:
                return self.look()
        raise AssertionError(f"it never gets there: {report}")


STEPS = ["stream"] * 6 + ["file", "replay", "backfill", "forget", "remember", "fall_back"] + ["time_passes"] * 4
STEPS += ["die"] * 3 + ["settle"] * 4


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
