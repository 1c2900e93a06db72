"""Whatever came, whatever is backfilled and wherever it dies: reads are those of an oracle that is a dictionary and a sort."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState
from cluster.records import Origin
from cluster.serving.asof import point_in_time
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_clustering import HistoryOrder
from cluster.stores.memory_offline import MemoryOfflineStore
from tests.backfill_world import FORBIDDEN, NOW, BackfillWorld, definitions
from tests.batches import EPOCH_US, Row, make_batch, row_at

USERS = "ab"
TIMES = 60

Key = tuple[int, int]  # partition, position


@dataclass
class Oracle:
    """What was sent, and the version under which each record that passed was computed last."""

    events: dict[Key, tuple[str, int, float]] = field(default_factory=dict)
    versions: dict[Key, int] = field(default_factory=dict)
    rejected: set[Key] = field(default_factory=set)

    def stream(self, version: int, partition: int, event: tuple[str, int, float]) -> None:
        key = partition, sum(p == partition for p, _ in self.events)
        self.events[key] = event
        if version > 1 and event[2] == FORBIDDEN:
            self.rejected.add(key)
        else:
            self.versions[key] = version

    def backfill(self, version: int, since: int, until: int) -> None:
        for key, (_, at, _) in self.events.items():
            if since <= at < until and key not in self.rejected:
                self.versions[key] = max(version, self.versions[key])

    def scores(self) -> dict[Key, float]:
        values = {key: (self.events[key][2], version) for key, version in self.versions.items()}
        return {key: x * version for key, (x, version) in values.items() if version == 1 or x != FORBIDDEN}

    def at(self, user: str, time: int) -> float | None:
        known = [(self.events[key][1], value) for key, value in self.scores().items() if self.events[key][0] == user]
        return max(((at, value) for at, value in known if at <= time), default=(0, None))[1]


#: (partition, user, x) under some of the times, each used once: what is newest is then never a matter of taste.
events = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(USERS), st.sampled_from([1.0, 2.0, 3.0, FORBIDDEN])), min_size=1, max_size=8
)
#: (since, how long, the call to the writer at which it dies first)
backfills = st.tuples(st.integers(0, TIMES), st.integers(1, TIMES), st.integers(0, 30))
rounds = st.lists(st.tuples(events, backfills, st.booleans()), min_size=1, max_size=3)


class KilledError(BaseException):
    pass


def let_die(world: BackfillWorld, nth: int) -> None:
    calls = count()

    def die(_method: str) -> None:
        if next(calls) == nth:
            raise KilledError

    world.before = die


def check(world: BackfillWorld, oracle: Oracle) -> None:
    assert {key: value for key, (value, _, _) in world.scores().items()} == oracle.scores()
    asked = [(user, time) for user in USERS for time in (*range(0, TIMES, 7), TIMES)]
    times = pa.array([NOW + time for _, time in asked], pa.timestamp("us"))
    rows = pa.table({"user_id": [user for user, _ in asked], "event_timestamp": times})
    found = point_in_time(world.reads, rows, [world.catalog.features["score"]])["score"].to_pylist()
    assert found == [oracle.at(user, time) for user, time in asked]
    assert {user: world.served(user) for user in USERS} == {user: oracle.at(user, TIMES) for user in USERS}
    world.check()


@given(rounds, st.permutations(range(TIMES)))
@settings(deadline=None, max_examples=8)
def test_reads_are_of_the_new_version_where_it_was_backfilled_and_else_of_the_old(
    history: list[tuple[Any, Any, bool]], order: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        world, oracle, times = BackfillWorld(Path(folder), batch_records=2), Oracle(), iter(order)
        for version, (arrived, (since, length, dies_at), again) in enumerate(history, 1):
            world.catalog = definitions(version)
            take(world, oracle, version, arrived, times)
            backfill(world, oracle, (since, since + length), dies_at)
            if again:
                rows = world.reads.query("SELECT count(*) AS n FROM features")
                backfill(world, oracle, (since, since + length), dies_at)
                assert rows.equals(world.reads.query("SELECT count(*) AS n FROM features")), "done twice, nothing new"
        world.close()


def take(world: BackfillWorld, oracle: Oracle, version: int, arrived: Any, times: Iterator[int]) -> None:
    """Let events arrive; those of the first version are there before anything else."""
    for partition, user, x in arrived:
        at = next(times)
        world.send((user, at, x), partition=partition)
        oracle.stream(version, partition, (user, at, x))
    for partition in (0, 1):
        world.stream(partition)
    check(world, oracle)


def backfill(world: BackfillWorld, oracle: Oracle, span: tuple[int, int], dies_at: int) -> None:
    """Let a backfill die, look at what is left, and let it go on."""
    before = oracle.scores()
    oracle.backfill(world.catalog.version, *span)
    after = oracle.scores()
    let_die(world, dies_at)
    try:
        opened = world.crawl(*span)
    except KilledError:
        world.before = lambda _: None
        world.service().look()
        found = {key: value for key, (value, _, _) in world.scores().items()}
        assert all(found.get(key) in (before.get(key), after.get(key)) for key in oracle.events), "one or the other"
        world.check()
        opened = world.crawl(*span)
    world.before = lambda _: None
    world.store.end_backfill(opened.backfill_id, BackfillState.DONE)
    check(world, oracle)


# The twin and DuckDB side by side, chunk by chunk.

RECORDS, REJECTED = 12, frozenset({3, 7})
PART = BackfillPart("events", 0, 0, RECORDS, 0, 0)
STREAM = Origin.stream("events", 0, 1)
positions = st.frozensets(st.integers(0, RECORDS - 1), max_size=6)
#: (version, where chunks end, those that pass, those that do not); or rejects that are replayed under a version
steps = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 4), st.frozensets(st.integers(1, RECORDS - 1), max_size=3), positions, positions),
        st.tuples(st.integers(1, 4), st.frozensets(st.sampled_from(sorted(REJECTED)), min_size=1)),
    ),
    max_size=5,
)


def value_of(position: int, version: int) -> Row:
    entity, name, _, event, created, _ = row_at(position)
    return entity, name, float(position * 10 + version), event, created, position


def play(
    store: DuckStore | MemoryOfflineStore, history: list[Any], between: Callable[[], object] = lambda: None
) -> list[tuple[Any, ...]]:
    """Return how far each backfill was after each chunk, and what each replay took; call `between` before each step."""
    store.open_partition("events", 0, 0)
    rows = [value_of(p, 1) for p in range(RECORDS) if p not in REJECTED]
    store.commit(make_batch(STREAM, 1, (0, RECORDS), rows, rejected=sorted(REJECTED)))
    answers: list[tuple[Any, ...]] = []
    for number, step in enumerate(history):
        between()
        if len(step) == 2:
            replayed = [value_of(p, step[0]) for p in sorted(step[1])]
            span = min(step[1]), max(step[1]) + 1
            batch = make_batch(STREAM.replayed_under(step[0]), 0, span, replayed)
            answers.append((store.commit_replay(f"r{number}", STREAM, batch),))
        else:
            answers += backfilled(store, f"b{number}", step)
    return answers


def backfilled(store: DuckStore | MemoryOfflineStore, name: str, step: Any) -> Iterator[tuple[Any, ...]]:
    version, cuts, passing, failing = step
    asked = Backfill(name, "activity", "events", ("clicks",), version, EPOCH_US + 2, EPOCH_US + 9, (PART,))
    opened = store.open_backfill(asked)
    yield tuple(store.backfill_positions(name, PART.key, 0, RECORDS).tolist())
    for first, following in zip([0, *sorted(cuts)], [*sorted(cuts), RECORDS], strict=True):
        rows = [value_of(p, version) for p in sorted(passing) if first <= p < following]
        rejected = [p for p in sorted(failing - passing) if first <= p < following]
        chunk = make_batch(opened.origin(PART), 0, (first, following), rows, rejected=rejected)
        now = store.commit_backfill(name, chunk)
        assert store.commit_backfill(name, chunk) == now, "a repeat is answered the same"
        changed = store.backfill_changes(name, PART.key)
        yield *now.parts, *(table.to_pylist() for table in (changed.gone, changed.newest))
        if following % 2:
            store.publish_backfill(name, PART.key, following)
    store.end_backfill(name, BackfillState.DONE)


@given(steps, st.integers(1, RECORDS))
@settings(deadline=None, max_examples=20)
def test_the_database_does_what_the_twin_does_also_while_it_puts_history_in_order(history: list[Any], rows: int) -> None:
    twin = MemoryOfflineStore(count(EPOCH_US).__next__)
    expected = play(twin, history)
    left = sorted((r["position"], r["value"], str(o.kind), o.registry_version) for o, r in twin.backfills.rows())
    assert len({position for position, *_ in left}) == len(left), "one version of each record"
    with TemporaryDirectory() as folder:
        store = DuckStore(OfflineStoreConfig(path=str(Path(folder) / "f.duckdb"), group_commit_ms=0), count(EPOCH_US).__next__)
        order = HistoryOrder(store.database.cursor(), rows, threading.Lock())
        assert play(store, history, order.advance) == expected
        order.close()
        cursor = store.database.cursor()
        columns = "position, value, kind, registry_version"
        found = cursor.execute(f"SELECT {columns} FROM features JOIN sources USING (source_id) ORDER BY ALL").fetchall()
        assert found == left
        (gone,) = cursor.execute("SELECT count(*) FROM superseded").fetchall()
        assert gone == (len(twin.backfills.superseded),)
        cursor.close()
        store.close()
