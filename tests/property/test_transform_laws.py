"""Random graphs against an oracle that evaluates by recursion, on plain Python, one event at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ingest.transform import Transform, Transformed, compile_transform
from cluster.records import Events
from cluster.registry.catalog import build
from cluster.registry.definitions import Entity, FeatureView, Field, StreamSource, Wide, feature

COLUMNS = ("x", "y")
USER = Entity("user", "user_id")
SOURCE = StreamSource("events", "events", Wide("user_id", "at", tuple(Field(c, optional=True) for c in COLUMNS)))
FORBIDDEN = 13.0  # a function that finds it raises

Value = float | None
Event = dict[str, Value]


class Node(NamedTuple):
    """`add` and `multiply` take all inputs; `strict` takes the sum of them, and raises for FORBIDDEN among its inputs."""

    name: str
    mode: str
    operation: str
    inputs: tuple[str, ...]


Graph = Sequence[Node]


class FailedError(Exception):
    pass


def oracle(graph: Graph, event: Event) -> dict[str, Value] | None:
    """Return the value of each feature of one event, or None when a function fails at it."""
    nodes = {node.name: node for node in graph}

    def value(name: str) -> Value:
        if name not in nodes:
            return event[name]
        values = [value(given) for given in nodes[name].inputs]
        if nodes[name].operation == "strict" and FORBIDDEN in values:
            raise FailedError
        numbers = [v for v in values if v is not None]
        if len(numbers) < len(values):
            return None
        return float(np.prod(numbers)) if nodes[name].operation == "multiply" else float(sum(numbers))

    try:
        return {name: value(name) for name in nodes}
    except FailedError:
        return None


def by_row(operation: str) -> Callable[..., Value]:
    def compute(*values: Value) -> Value:
        if operation == "strict" and FORBIDDEN in values:
            raise ValueError("forbidden")
        if None in values:
            return None
        result = values[0]
        for other in values[1:]:
            result = result * other if operation == "multiply" else result + other  # type: ignore[operator]
        return result

    return compute


def by_batch(operation: str) -> Callable[..., Any]:
    def compute(*values: Any) -> Any:
        if operation == "strict" and any((v == FORBIDDEN).any() for v in values):
            raise ValueError("forbidden")
        result = values[0]
        for other in values[1:]:
            result = result * other if operation == "multiply" else result + other
        return result

    return compute


def transform_of(graph: Graph) -> Transform:
    functions = []
    for node in graph:
        compute = by_row(node.operation) if node.mode == "row" else by_batch(node.operation)
        names = ", ".join(node.inputs)
        named = eval(f"lambda {names}: compute({names})", {"compute": compute})  # noqa: S307 - a lambda with these parameters
        functions.append(feature(node.mode, name=node.name)(named))
    return compile_transform(build("laws", [FeatureView("view", USER, SOURCE, functions)]), "events")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Functions that take columns and functions before them, then written down in any order."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 5))):
        known = [*COLUMNS, *(node.name for node in nodes)]
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        mode = draw(st.sampled_from(["row", "pandas", "numpy"]))
        nodes.append(Node(f"f{number}", mode, draw(st.sampled_from(["add", "multiply", "strict"])), tuple(inputs)))
    return draw(st.permutations(nodes))


# Small whole numbers, so that five functions on top of each other do not reach infinity.
VALUES = st.none() | st.integers(-20, 20).map(float) | st.just(FORBIDDEN)
EVENTS = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, VALUES)), max_size=12)


def batch(events: Sequence[tuple[int, Event]]) -> Events:
    """Return events as columns; each keeps its number as position, entity and time."""
    numbers = [number for number, _ in events]
    times = pa.array(numbers, pa.timestamp("us"))
    return Events(
        entity_id=pa.array([f"user_{n}" for n in numbers], pa.string()),
        event_timestamp=times,
        created_at=times,
        position=pa.array(numbers, pa.int64()),
        columns={c: pa.array([event[c] for _, event in events], pa.float64()) for c in COLUMNS},
    )


def rows(*done: Transformed) -> Counter[tuple[Any, ...]]:
    """Return the rows in any order, each with everything it has."""
    return Counter(tuple(row.values()) for one in done for row in one.rows.to_pylist())


def outcomes(done: Transformed) -> dict[int, dict[str, Value]]:
    found: dict[int, dict[str, Value]] = {}
    for row in done.rows.to_pylist():
        assert row["feature_name"] not in found.setdefault(row["position"], {}), "two rows for one event and feature"
        assert row["entity_id"] == f"user_{row['position']}"
        found[row["position"]][row["feature_name"]] = row["value"]
    return found


def at_fault(events: Sequence[tuple[int, Event]], done: Transformed) -> Iterator[tuple[int, str]]:
    for index, _, detail in done.faults:
        yield events[index][0], detail


def expected(graph: Graph, events: Sequence[Event]) -> Mapping[int, dict[str, Value]]:
    found = {number: oracle(graph, event) for number, event in enumerate(events)}
    return {number: values for number, values in found.items() if values is not None}


@given(graphs(), EVENTS)
@settings(max_examples=80, deadline=None)
def test_a_graph_gives_what_recursion_gives(graph: Graph, events: list[Event]) -> None:
    numbered = list(enumerate(events))
    done = transform_of(graph)(batch(numbered))
    good = expected(graph, events)
    assert outcomes(done) == good
    assert done.events == len(good)
    assert [number for number, _ in at_fault(numbered, done)] == [n for n, _ in numbered if n not in good]


@given(graphs(), EVENTS, st.data())
@settings(max_examples=50, deadline=None)
def test_the_order_of_events_does_not_matter_to_any_of_them(graph: Graph, events: list[Event], data: st.DataObject) -> None:
    transform = transform_of(graph)
    numbered = list(enumerate(events))
    shuffled = data.draw(st.permutations(numbered))
    first, second = transform(batch(numbered)), transform(batch(shuffled))
    assert rows(first) == rows(second)
    assert set(at_fault(numbered, first)) == set(at_fault(shuffled, second))


@given(graphs(), EVENTS, st.data())
@settings(max_examples=50, deadline=None)
def test_splitting_a_batch_gives_the_same_rows(graph: Graph, events: list[Event], data: st.DataObject) -> None:
    transform = transform_of(graph)
    numbered = list(enumerate(events))
    cut = data.draw(st.integers(0, len(events)))
    parts = [numbered[:cut], numbered[cut:]]
    whole, halves = transform(batch(numbered)), [transform(batch(part)) for part in parts]
    assert rows(whole) == rows(*halves)
    split = {f for part, done in zip(parts, halves, strict=True) for f in at_fault(part, done)}
    assert set(at_fault(numbered, whole)) == split
