"""Random graphs against an oracle that evaluates by recursion, on plain Python, one event at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ingest.transform import Transform, Transformed, compile_transform
from cluster.records import Events
from cluster.registry.catalog import build
from cluster.registry.definitions import Entity, FeatureFunction, FeatureView, Field, StreamSource, Wide, feature

COLUMNS = ("x", "y")
USER = Entity("user", "user_id")
SOURCE = StreamSource("events", "events", Wide("user_id", "at", tuple(Field(c, optional=True) for c in COLUMNS)))
FORBIDDEN = 13.0  # a function that finds it raises
PRIME, HALF, DEEPEST = 101, 50, 10

Value = float | None
Event = dict[str, Value]


class Node(NamedTuple):
    """`add` and `multiply` take all inputs; `strict` takes the sum of them, and raises for FORBIDDEN among its inputs.

    Results are whole numbers below PRIME, so that ten functions on top of each other are exact and stay finite. With two
    outputs the second one is what the first lacks to 1.
    """

    outputs: tuple[str, ...]
    mode: str
    operation: str
    inputs: tuple[str, ...]


class Graph(NamedTuple):
    """A view's functions, in any order; `where` is one more that takes columns, and is true above zero."""

    nodes: Sequence[Node]
    where: Node | None


class FailedError(Exception):
    pass


def oracle(graph: Graph, event: Event) -> dict[str, Value] | None:
    """Return the value of each feature of one event, or None when a function fails at it."""
    makers = {name: (node, place) for node in graph.nodes for place, name in enumerate(node.outputs)}
    known: dict[str, Value] = dict(event)

    def result(node: Node) -> Value:
        values = [value(given) for given in node.inputs]
        if node.operation == "strict" and FORBIDDEN in values:
            raise FailedError
        numbers = [v for v in values if v is not None]
        if len(numbers) < len(values):
            return None
        return (math.prod(numbers) if node.operation == "multiply" else sum(numbers)) % PRIME

    def value(name: str) -> Value:
        if name not in known:
            node, place = makers[name]
            found = result(node)
            known[name] = 1 - found if place and found is not None else found
        return known[name]

    try:
        taken = graph.where is None or (result(graph.where) or 0) > HALF
        return {"y": event["y"]} | ({name: value(name) for name in makers} if taken else {})
    except FailedError:
        return None


def by_row(node: Node) -> Callable[..., Any]:
    def compute(*values: Value) -> Value:
        if node.operation == "strict" and FORBIDDEN in values:
            raise ValueError("forbidden")
        if None in values:
            return None
        result = values[0]
        for other in values[1:]:
            result = result * other if node.operation == "multiply" else result + other  # type: ignore[operator]
        return result % PRIME  # type: ignore[operator]

    return compute


def by_batch(node: Node) -> Callable[..., Any]:
    def compute(*values: Any) -> Any:
        if node.operation == "strict" and any((v == FORBIDDEN).any() for v in values):
            raise ValueError("forbidden")
        result = values[0]
        for other in values[1:]:
            result = result * other if node.operation == "multiply" else result + other
        return result % PRIME

    return compute


def function_of(node: Node, finish: Callable[[Any], Any], name: str, outputs: Sequence[str] = ()) -> FeatureFunction:
    compute = by_row(node) if node.mode == "row" else by_batch(node)
    names = ", ".join(node.inputs)
    scope = {"compute": compute, "finish": finish}
    return feature(node.mode, name=name, outputs=outputs)(eval(f"lambda {names}: finish(compute({names}))", scope))  # noqa: S307 - a lambda with these parameters


def both(result: Any) -> Any:
    return (result, None if result is None else 1 - result)


def above(result: Any) -> Any:
    return None if result is None else result > HALF


def transform_of(graph: Graph) -> Transform:
    """Compile the graph as one view, beside another that takes every event."""
    functions = [
        function_of(node, both, "both", node.outputs)
        if len(node.outputs) > 1
        else function_of(node, lambda x: x, node.outputs[0])
        for node in graph.nodes
    ]
    where = graph.where and function_of(graph.where, above, "where")
    views = [FeatureView("view", USER, SOURCE, functions, where=where), FeatureView("all", USER, SOURCE, [Field("y")])]
    return compile_transform(build("laws", views), "events", timeout_s=600)


MODES = st.sampled_from(["row", "pandas", "numpy"])
OPERATIONS = st.sampled_from(["add", "multiply", "strict"])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to thirty functions, up to ten deep, that take columns and functions before them, then written down in any order."""
    depth = dict.fromkeys(COLUMNS, 0)
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 30))):
        known = [name for name in depth if depth[name] < DEEPEST]
        names = st.sampled_from(known) | st.sampled_from(known[-3:])  # the last ones make it deep
        inputs = draw(st.lists(names, min_size=1, max_size=3, unique=True))
        outputs = (f"f{number}", f"g{number}") if draw(st.booleans()) else (f"f{number}",)
        nodes.append(Node(outputs, draw(MODES), draw(OPERATIONS), tuple(inputs)))
        depth |= dict.fromkeys(outputs, 1 + max(depth[name] for name in inputs))
    columns = st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True).map(tuple)
    where = draw(st.none() | st.builds(Node, st.just(("where",)), MODES, OPERATIONS, columns))
    return Graph(draw(st.permutations(nodes)), where)


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
@settings(max_examples=150, deadline=None)
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
