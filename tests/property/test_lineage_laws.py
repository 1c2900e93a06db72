"""Graphs against a transitive closure by hand; a value's record against a loop and against the read that it explains."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.errors import NotFound
from cluster.lineage.definitions import graph_of
from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.lineage.values import Asked, ValueLineage, value_lineage
from cluster.registry.catalog import build
from cluster.registry.definitions import Entity, FeatureFunction, FeatureView, Field, Long, Mode, StreamSource, Wide
from cluster.serving.asof import point_in_time
from cluster.serving.online import Status
from cluster.stores.duckdb_database import DuckDatabase
from cluster.stores.duckdb_reads import DuckReads

USER = Entity("user", "user")

# ---- graphs


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Node n takes some of those below n; they come in any order."""
    count = draw(st.integers(1, 8))
    takes = {n: draw(st.sets(st.integers(0, n - 1))) if n else set() for n in range(count)}
    parts = [(Node(NodeKind.FEATURE, str(n)), [f"feature:{i}" for i in sorted(below)]) for n, below in takes.items()]
    return Graph.of(draw(st.permutations(parts)))


def closure(graph: Graph) -> set[tuple[str, str]]:
    """Return every (node, what it is made from), by trying all paths until there is nothing new."""
    pairs = {(taker, taken) for taken, taker in graph.edges}
    while new := {(a, d) for a, b in pairs for c, d in pairs if b == c} - pairs:
        pairs |= new
    return pairs


def ids(graph: Graph) -> set[str]:
    return {node.id for node in graph.nodes}


@given(graphs())
def test_a_node_comes_after_all_that_it_is_made_from(graph: Graph) -> None:
    order = [node.id for node in graph.nodes]
    assert all(order.index(taken) < order.index(taker) for taker, taken in closure(graph))


@given(graphs(), st.data())
def test_upstream_and_around_are_what_a_closure_says(graph: Graph, data: st.DataObject) -> None:
    node = data.draw(st.sampled_from(graph.nodes))
    above = {taken for taker, taken in closure(graph) if taker == node.id}
    below = {taker for taker, taken in closure(graph) if taken == node.id}
    assert ids(graph.upstream(node)) == {node.id} | above
    assert ids(graph.around(node)) == {node.id} | above | below
    assert set(graph.upstream(node).edges) == {e for e in graph.edges if e[1] in {node.id} | above}


@given(graphs(), st.data())
def test_direct_neighbours_agree_with_each_other(graph: Graph, data: st.DataObject) -> None:
    node, other = data.draw(st.sampled_from(graph.nodes)), data.draw(st.sampled_from(graph.nodes))
    assert (other in graph.inputs(node)) == (node in graph.takers(other)) == ((other.id, node.id) in graph.edges)


# ---- definitions

COLUMNS = ("c0", "c1", "c2")


@st.composite
def functions(draw: st.DrawFn) -> list[FeatureFunction]:
    """Function n takes columns and functions below n; they are written in any order."""
    count = draw(st.integers(1, 6))
    known = [[*COLUMNS, *(f"f{i}" for i in range(n))] for n in range(count)]
    inputs = [draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)) for names in known]
    made = [FeatureFunction(f"f{n}", _callable(taken), Mode.ROW, tuple(taken)) for n, taken in enumerate(inputs)]
    return draw(st.permutations(made))


def _callable(inputs: list[str]) -> Callable[..., Any]:
    made: Callable[..., Any] = eval(f"lambda {', '.join(inputs)}: 0")  # noqa: S307 - a function with these parameters
    return made


def needed(name: str, functions: dict[str, FeatureFunction]) -> set[str]:
    """Return the columns and functions that a function needs, by following its inputs."""
    below = set(functions[name].inputs)
    return below.union(*(needed(taken, functions) for taken in below if taken in functions))


@given(functions(), st.data())
def test_a_feature_is_made_from_what_its_functions_take(made: list[FeatureFunction], data: st.DataObject) -> None:
    records = Wide("user", "at", tuple(Field(name) for name in COLUMNS))
    graph = graph_of(build("p", [FeatureView("v", USER, StreamSource("s", "t", records), made)]).describe())
    name = data.draw(st.sampled_from([f.name for f in made]))
    found = graph.upstream(graph.node(NodeKind.FEATURE, f"v:{name}")).nodes
    expected = needed(name, {f.name: f for f in made})
    assert {n.name for n in found if n.kind is NodeKind.COLUMN} == {f"s.{c}" for c in expected if c in COLUMNS}
    assert {n.name for n in found if n.kind is NodeKind.FEATURE} == {f"v:{f}" for f in {*expected, name} - {*COLUMNS}}
    assert {n.name for n in found if n.kind is NodeKind.FUNCTION} == {f"v.{f}" for f in {*expected, name} - {*COLUMNS}}
    assert [n.name for n in found if n.kind in {NodeKind.SOURCE, NodeKind.TOPIC}] == ["t", "s"]


# ---- values

TTL, NOW = 5, 25
SOURCE = StreamSource("s", "t", Long())
PLAIN = FeatureView("v", USER, SOURCE, [Field("plain")])
SHORT = FeatureView("w", USER, SOURCE, [Field("short")], ttl=timedelta(microseconds=TTL))
CATALOG = build("p", [PLAIN, SHORT])


class Row(NamedTuple):
    entity_id: str
    feature: str
    event: int
    created: int
    position: int
    source_id: int
    value: float | None


# Few values for each, so that ties, corrections and both ends of a ttl happen all the time.
row = st.builds(
    Row,
    entity_id=st.sampled_from(["1", "2"]),
    feature=st.sampled_from(["plain", "short"]),
    event=st.integers(0, 20),
    created=st.integers(0, 3),
    position=st.integers(0, 3),
    source_id=st.integers(1, 3),
    value=st.one_of(st.none(), st.integers(0, 1000).map(float)),
)
rows = st.lists(row, max_size=25, unique_by=lambda r: (r.source_id, r.position, r.feature))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDatabase]:
    database = DuckDatabase(OfflineStoreConfig(path=str(tmp_path_factory.mktemp("lineage") / "f.duckdb")))
    definition = json.dumps(CATALOG.describe())
    with database.cursor() as cursor:
        for number in (1, 2, 3):
            cursor.execute(
                "INSERT INTO sources VALUES (?, 'stream', 't', ?, NULL, 1, make_timestamp(0), 0, NULL)", [number, number * 10]
            )
            cursor.execute("INSERT INTO batches VALUES (?, 0, 4, 4, 4, 0, 1, make_timestamp(?))", [number, number * 100])
        cursor.execute("INSERT INTO registry_versions VALUES (1, make_timestamp(7), 'me', 'h', ?, '', NULL)", [definition])
    yield database
    database.close()


def store(database: DuckDatabase, history: list[Row]) -> None:
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM features")
        for r in history:
            cursor.execute(
                "INSERT INTO features VALUES (?, ?, ?, make_timestamp(?), make_timestamp(?), ?, ?)",
                [r.entity_id, r.feature, r.value, r.event, r.created, r.source_id, r.position],
            )


def newest(history: list[Row], asked: Asked) -> Row | None:
    known = [
        r
        for r in history
        if (r.entity_id, r.feature) == (asked.entity_id, asked.feature) and (asked.at_us is None or r.event <= asked.at_us)
    ]
    return max(known, key=lambda r: (r.event, r.created, r.position, r.source_id), default=None)


def said(found: ValueLineage) -> tuple[Any, ...]:
    return (
        *(found.entity_id, found.feature, found.event_timestamp, found.created_at, found.position),
        *(found.origin.partition, found.committed_at, found.value),
    )


def read(reads: DuckReads, asked: Asked) -> float | None:
    """Return what a point-in-time read says."""
    question = {"user": [asked.entity_id], "event_timestamp": pa.array([asked.at_us], pa.timestamp("us", "UTC"))}
    [value] = point_in_time(reads, pa.table(question), CATALOG.resolve([asked.feature]))[asked.feature].to_pylist()
    return None if value is None else float(value)


questions = st.builds(
    Asked,
    entity_id=st.sampled_from(["1", "2"]),
    feature=st.sampled_from(["plain", "short"]),
    at_us=st.one_of(st.none(), st.integers(0, 30)),
)


@settings(max_examples=40, deadline=None)
@given(rows, st.lists(questions, min_size=1, max_size=6))
def test_a_values_record_is_that_of_the_row_which_a_read_returns(
    database: DuckDatabase, history: list[Row], asked: list[Asked]
) -> None:
    store(database, history)
    reads = DuckReads(database, OfflineStoreConfig())
    for question in asked:
        expected = newest(history, question)
        if expected is None:
            with pytest.raises(NotFound, match="history has no value of"):
                value_lineage(reads, CATALOG, question, NOW)
            continue
        found = value_lineage(reads, CATALOG, question, NOW)
        e = expected
        assert said(found) == (
            *(e.entity_id, e.feature, e.event, e.created, e.position),
            *(e.source_id * 10, e.source_id * 100, e.value),
        )
        age = (NOW if question.at_us is None else question.at_us) - e.event
        expired = e.feature == "short" and age > TTL
        assert found.status == (Status.OUTSIDE_MAX_AGE if expired else Status.NULL_VALUE if e.value is None else Status.PRESENT)
        if question.at_us is not None:
            assert read(reads, question) == (found.value if found.status is Status.PRESENT else None)


def test_a_stored_definition_gives_the_same_graph() -> None:
    assert graph_of(json.loads(json.dumps(CATALOG.describe()))) == graph_of(CATALOG.describe())
