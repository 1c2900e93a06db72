"""The graph that a project's definitions spell out.

It is made from the form in which `registry_versions` stores them (`Catalog.describe`), so that the definitions in force
and those of any earlier version are read by the same code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from cluster.lineage.graph import Graph, Node, NodeKind
from cluster.windows.window import spoken

Definition = Mapping[str, Any]
#: A node with the ids of what it takes.
Part = tuple[Node, list[str]]

#: What is only said about a thing, and what has nodes of its own.
_ASIDE = {"name", "description", "owner", "tags", "features", "fields", "partitions", "where"}
_TIMES = {"join_key": "join key", "event_timestamp": "event time", "created_at": "created at"}


def graph_of(definition: Definition) -> Graph:
    """Return everything in `definition` (see `Catalog.describe`) and what takes it."""
    return Graph.of(_parts(definition))


def feature_in(graph: Graph, name: str) -> Node | None:
    """Return the node of the feature called `name`, in whichever view it is; None when there is none."""
    features = (node for node in graph.nodes if node.kind is NodeKind.FEATURE)
    return next((node for node in features if node.name.rpartition(":")[2] == name), None)


def names_of(item: Definition) -> list[str]:
    """Return the features that an item of a view gives: the outputs of a function that has several, otherwise its own name."""
    return item.get("outputs") or [item["name"]]


def _parts(definition: Definition) -> Iterator[Part]:
    sources = definition["sources"]
    for source in sources.values():
        yield from _source(source)
        yield from _columns(source)
    for view in definition["views"].values():
        yield from _features(view, sources[view["source"]])
    for service in definition["services"].values():
        yield Node(NodeKind.SERVICE, service["name"]), list(_taken_by(service, definition))


def _source(source: Definition) -> Iterator[Part]:
    topics = [Node(NodeKind.TOPIC, source["topic"])] if "topic" in source else []
    yield from ((topic, []) for topic in topics)
    detail = f"{source['kind']}, {source['records']['kind']} records"
    yield Node(NodeKind.SOURCE, source["name"], detail, _digest(source)), [topic.id for topic in topics]


def _columns(source: Definition) -> Iterator[Part]:
    """Yield the columns that features can be made from."""
    records, taken = source["records"], [f"{NodeKind.SOURCE}:{source['name']}"]
    if records["kind"] == "long":
        yield Node(NodeKind.COLUMN, _column(source, ""), "one value in each record"), taken
        return
    for key, said in _TIMES.items():
        if records[key] is not None:
            yield Node(NodeKind.COLUMN, _column(source, records[key]), said), taken
    for field in records["fields"]:
        yield Node(NodeKind.COLUMN, _column(source, field["name"]), field["dtype"], _digest(field)), taken


def _features(view: Definition, source: Definition) -> Iterator[Part]:
    computed = {name for item in view["features"] if item["kind"] in {"function", "aggregation"} for name in names_of(item)}
    reads = _reads(view)
    filters = list(_filters(view, source))
    yield from filters
    for item in view["features"]:
        taken = [node.id for node, _ in filters]
        if item["kind"] == "function":
            function = Node(NodeKind.FUNCTION, f"{view['name']}.{item['name']}", item["mode"], _digest(item))
            features = {*item["inputs"]} if item["name"] in reads else computed  # an answer has no columns
            yield function, [_input(view, source, name, features) for name in item["inputs"]]
            taken, digest = [function.id, *taken], _digest(view)
        elif item["kind"] == "aggregation":
            yield _window(view, item), [f"{NodeKind.FEATURE}:{_feature(view, name)}" for name in _inputs_of(item)]
            continue
        else:
            taken, digest = [f"{NodeKind.COLUMN}:{_column(source, item['name'])}", *taken], _digest({**view, "field": item})
        for name in names_of(item):
            yield Node(NodeKind.FEATURE, _feature(view, name), _read_as(view), digest), taken


def _reads(view: Definition) -> set[str]:
    """Return the functions that take an aggregation, or the result of one that does."""
    windows = {item["name"] for item in view["features"] if item["kind"] == "aggregation"}
    functions = [item for item in view["features"] if item["kind"] == "function"]
    found: set[str] = set()
    while more := [f for f in functions if f["name"] not in found and windows & {*f["inputs"]}]:
        found |= {function["name"] for function in more}
        windows |= {name for function in more for name in names_of(function)}
    return found


def _window(view: Definition, item: Definition) -> Node:
    said = f"{item['function']} over {spoken(timedelta(seconds=item['window']))}, computed when it is read"
    return Node(NodeKind.FEATURE, _feature(view, item["name"]), f"{view['entity']}, {said}", _digest({"window": item}))


def _inputs_of(item: Definition) -> list[str]:
    return [item["input"], *filter(None, [item["filter"]])]


def _filters(view: Definition, source: Definition) -> Iterator[Part]:
    """Yield the function that decides which events a view takes, if there is one."""
    if where := view.get("where"):
        node = Node(NodeKind.FUNCTION, f"{view['name']}.{where['name']}", f"{where['mode']}, where", _digest(where))
        yield node, [f"{NodeKind.COLUMN}:{_column(source, name)}" for name in where["inputs"]]


def _input(view: Definition, source: Definition, name: str, computed: set[str]) -> str:
    """Return the id of what a function's parameter means: a computed feature of its view, or a column."""
    if name in computed:
        return f"{NodeKind.FEATURE}:{_feature(view, name)}"
    return f"{NodeKind.COLUMN}:{_column(source, name)}"


def _feature(view: Definition, name: str) -> str:
    return f"{view['name']}:{name}"


def _column(source: Definition, name: str) -> str:
    """Return a column's name in the graph; all features of a long source come out of the same one."""
    records = source["records"]
    return f"{source['name']}.{records['value'] if records['kind'] == 'long' else name}"


def _read_as(view: Definition) -> str:
    ttl = "no ttl" if view["ttl"] is None else f"ttl {str(timedelta(seconds=view['ttl'])).removesuffix(', 0:00:00')}"
    return f"{view['entity']}, {'online' if view['online'] else 'history only'}, {ttl}"


def _taken_by(service: Definition, definition: Definition) -> Iterator[str]:
    for reference in service["features"]:
        if reference in definition["services"]:
            yield f"{NodeKind.SERVICE}:{reference}"
        else:
            yield from _meant(reference, definition["views"])


def _meant(reference: str, views: Mapping[str, Definition]) -> Iterator[str]:
    """Yield the ids of the features meant by a view's name, `view:feature` or `feature`."""
    name = reference.rpartition(":")[2]
    for view in views.values():
        for found in (found for item in view["features"] for found in names_of(item)):
            if reference == view["name"] or found == name:
                yield f"{NodeKind.FEATURE}:{_feature(view, found)}"


def _digest(thing: Definition) -> str:
    return hashlib.sha256(json.dumps(_decisive(thing), sort_keys=True).encode()).hexdigest()[:16]


def _decisive(value: Any) -> Any:
    """Return what decides about values, without what is only said about them.

    What is not set counts as absent: definitions that an older Raytide stored lack what it did not know.
    """
    if isinstance(value, Mapping):
        return {key: _decisive(part) for key, part in value.items() if key not in _ASIDE and part not in (None, [])}
    return [_decisive(part) for part in value] if isinstance(value, list) else value
