"""Windows in historical reads against nested loops: late, corrected, doubled, out of order, from several sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import product
from random import Random

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import FeatureSpec
from cluster.serving.asof import Terms, point_in_time
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads
from tests.window_oracle import Event, Question, answer

SECOND = 1_000_000
WINDOWS = [(1, 1), (6, 3), (10, 5), (12, 12)]  # seconds of window and hop


def aggregation(function: str, window: int, hop: int, filter_: str | None = None) -> Aggregation:
    name = f"{function}_{window}_{hop}_{filter_ or 'all'}"
    return Aggregation("amount", function, timedelta(seconds=window), timedelta(seconds=hop), filter_, name)


def spec(of: Aggregation) -> FeatureSpec:
    return FeatureSpec(of.name, "v", "user", "user", "s", online=False, ttl_us=None, field=None, aggregation=of)


EVERY = [aggregation(function, 6, 2) for function in Function]
EVERY += [aggregation(function, *window) for function, window in product(("count", "sum", "last"), WINDOWS)]
EVERY += [aggregation(function, 6, 2, "paid") for function in ("count", "sum", "last", "count_distinct")]
LAST_VALUE = FeatureSpec("amount", "v", "user", "user", "s", online=False, ttl_us=None, field=None)

# Times at and around the edges of hops, and few values, so that ties and nulls happen all the time.
times = st.builds(lambda s, off: max(0, s * SECOND + off), st.integers(0, 24), st.sampled_from([-1, 0, 0, 1, 400_000]))
values = st.one_of(st.none(), st.integers(-3, 3).map(float), st.sampled_from([0.1, 1e15, -1e15]))
records = st.lists(
    st.tuples(
        st.sampled_from(["1", "2"]), times, times, st.integers(0, 4), st.integers(1, 3), values, st.sampled_from([0, 1, None])
    ),
    max_size=25,
    unique_by=lambda record: record[3:5],
)
questions = st.lists(st.builds(Question, st.sampled_from(["1", "2", "3", None]), st.one_of(st.none(), times)), max_size=15)


def history_of(drawn: Sequence[tuple[str, int, int, int, int, float | None, float | None]]) -> list[Event]:
    """Return two rows for each record: what is aggregated, and its filter."""
    return [
        Event(entity, feature, event, created, position, source, value)
        for entity, event, created, position, source, amount, paid in drawn
        for feature, value in (("amount", amount), ("paid", paid))
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDatabase]:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path_factory.mktemp("windows") / "f.duckdb")))
    yield database
    database.close()


def store(database: DuckDatabase, history: Sequence[Event]) -> None:
    table = pa.table(
        {
            "entity_id": pa.array([e.entity_id for e in history], pa.string()),
            "feature_name": pa.array([e.feature for e in history], pa.string()),
            "value": pa.array([e.value for e in history], pa.float64()),
            "event_timestamp": pa.array([e.event for e in history], pa.timestamp("us")),
            "created_at": pa.array([e.created for e in history], pa.timestamp("us")),
            "source_id": pa.array([e.source_id for e in history], pa.int32()),
            "position": pa.array([e.position for e in history], pa.int64()),
        },
    )
    with database.cursor() as cursor:
        cursor.register("new", table)
        cursor.execute("DELETE FROM features")
        cursor.execute("INSERT INTO features BY NAME FROM new")


def asked_of(asked: Sequence[Question]) -> pa.Table:
    return pa.table(
        {
            "user": pa.array([q.entity_id for q in asked], pa.string()),
            "event_timestamp": pa.array([q.at for q in asked], pa.timestamp("us")),
            "seen": pa.array([q.known_at for q in asked], pa.timestamp("us")),
        },
    )


def check(
    database: DuckDatabase, history: Sequence[Event], asked: Sequence[Question], terms: Terms, of: list[Aggregation]
) -> None:
    store(database, history)
    reads = DuckReads(database, OfflineStoreConfig())
    joined = point_in_time(reads, asked_of(asked), [*map(spec, of), LAST_VALUE], terms)
    assert joined.column_names[3:] == [*(a.name for a in of), "amount"]
    for one in of:
        wanted = [answer(history, one, question) for question in asked]
        # Sums of values that cancel each other: how close they come is measured by the values, not by their sum.
        assert joined[one.name].to_pylist() == [w if w is None else pytest.approx(w, rel=1e-9, abs=1) for w in wanted], one.name
        exact = one.function not in {"sum", "mean", "std"}
        if exact:
            assert joined[one.name].to_pylist() == wanted, one.name


@settings(max_examples=30, deadline=None)
@given(records.map(history_of), questions, st.one_of(st.none(), times))
@example([], [Question("1", 5 * SECOND)], None)
@example([Event("1", "amount", 4 * SECOND, 0, 0, 1, 1.0)], [Question("1", t) for t in range(0, 20 * SECOND, SECOND)], None)
@example([Event("1", "amount", 0, 0, 0, 1, 1.0)], [Question("1", SECOND), Question("1", 0)], None)
def test_windows_are_what_nested_loops_find(
    database: DuckDatabase, history: list[Event], asked: list[Question], known_at: int | None
) -> None:
    limited = [question._replace(known_at=known_at) for question in asked]
    check(database, history, limited, Terms(known_at_us=known_at), EVERY)


@settings(max_examples=30, deadline=None)
@given(records.map(history_of), questions, st.lists(times, min_size=15, max_size=15))
def test_each_question_may_have_its_own_limit_of_what_was_known(
    database: DuckDatabase, history: list[Event], asked: list[Question], limits: list[int]
) -> None:
    limited = [question._replace(known_at=limit) for question, limit in zip(asked, limits, strict=False)]
    check(database, history, limited, Terms(known_at_column="seen"), EVERY)


@pytest.mark.parametrize("seed", range(2))
def test_windows_over_many_events_are_too(database: DuckDatabase, seed: int) -> None:
    # Enough for DuckDB to use its trees of partial results and several threads.
    random = Random(seed)
    drawn = [
        (random.choice("12"), random.randrange(200 * SECOND), random.randrange(9), n, n % 3, random.random(), n % 2)
        for n in range(2_500)
    ]
    random.shuffle(drawn)
    asked = [Question(random.choice("123"), random.randrange(220 * SECOND)) for _ in range(20)]
    of = [aggregation(f, window, hop, f_) for f, (window, hop), f_ in product(Function, [(60, 20), (90, 1)], [None, "paid"])]
    check(database, history_of(drawn), asked, Terms(), of)


def test_a_small_window_after_large_values_loses_nothing(database: DuckDatabase) -> None:
    history = [Event("1", "amount", 1, 0, 0, 1, 1e18), Event("1", "amount", 30 * SECOND, 0, 1, 1, 0.1)]
    store(database, history)
    of = [spec(aggregation(function, 6, 2)) for function in ("sum", "mean")]
    joined = point_in_time(DuckReads(database, OfflineStoreConfig()), asked_of([Question("1", 31 * SECOND)]), of)
    assert [joined[one.name].to_pylist() for one in of] == [[0.1], [0.1]]
