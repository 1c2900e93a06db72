"""What of history belongs in the cells of windows: events of new commits added up, or whole cells computed again.

The rows of the ledger are numbered by DuckDB (`rowid`) in the order in which they were committed, whatever brought them, and
none is ever deleted or changed. So "everything up to ledger row n" is a moment of history, and n is the mark that the online
store keeps with its cells (docs/decisions/0023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.records import SourceKind
from cluster.stores.duckdb_reads import DuckReads, Snapshot
from cluster.windows.panes import Pane, inputs_of
from cluster.windows.partials import Layout
from cluster.windows.ports import Since, WindowChanges, WindowPage
from cluster.windows.window import MAX_DISTINCT

#: Rows of new commits that are looked at in one step. A commit that has more, as a large file has, is not looked at: everything
#: is computed again, some entities at a time.
MOST_ROWS = 500_000
ENTITIES_ON_A_PAGE = 5_000
#: Squares of larger values are beyond a double: a spread with one of them is infinite.
_SQUARABLE = "1e150"

_END = "SELECT coalesce(max(rowid), -1) AS n FROM batches"
_STEP = """
    SELECT coalesce(max(n) FILTER (total <= $most), min(n)) AS n
    FROM (SELECT rowid AS n, sum("rows") OVER (ORDER BY rowid) AS total FROM batches WHERE rowid > $row)"""
_NEWS = """
    SELECT source_id, kind, min(first_position) AS first, max(next_position) AS next, sum("rows") AS n
    FROM batches JOIN sources USING (source_id) WHERE batches.rowid > $row AND batches.rowid <= $up_to GROUP BY ALL"""
_COLUMNS = """entity_id, feature_name, value, epoch_us(event_timestamp) AS moment, epoch_us(created_at) AS created, position,
        source_id"""
_FRESH = f"""
    SELECT {_COLUMNS} FROM features JOIN news USING (source_id)
    WHERE source_id IN (SELECT unnest($sources::INTEGER[])) AND position >= $lowest AND position >= first AND position < next
        AND feature_name IN (SELECT unnest($names::VARCHAR[])) AND event_timestamp > make_timestamp($oldest)"""  # noqa: S608 - made of this module's constants
_REPLACED = f"""
    SELECT {_COLUMNS} FROM superseded
    WHERE superseded_by IN (SELECT unnest($sources::INTEGER[]))
        AND feature_name IN (SELECT unnest($names::VARCHAR[])) AND event_timestamp > make_timestamp($oldest)"""  # noqa: S608 - as above
_DUE = f"""
    SELECT {_COLUMNS} FROM features
    WHERE feature_name IN (SELECT unnest($names::VARCHAR[])) AND event_timestamp > make_timestamp($after)
        AND event_timestamp <= make_timestamp($until) LIMIT $most"""  # noqa: S608 - as above
_NEXT = """
    SELECT epoch_us(min(event_timestamp)) AS moment FROM features
    WHERE feature_name IN (SELECT unnest($names::VARCHAR[])) AND event_timestamp > make_timestamp($until)"""
_TOUCHED = """
    SELECT DISTINCT entity_id, (moment - 1) // {hop} AS cell FROM fresh
    WHERE feature_name IN (SELECT unnest($names::VARCHAR[])) AND moment > $oldest AND moment <= $until"""
_OF_FRESH = "SELECT * FROM fresh"
_OF_HISTORY = f"""
    SELECT {_COLUMNS} FROM features
    WHERE event_timestamp > make_timestamp($oldest) AND event_timestamp <= make_timestamp($until) {{where}}"""  # noqa: S608 - as above
_EVENTS = """
    SELECT entity_id, (moment - 1) // {hop} AS cell, value,
        {{'m': moment, 'c': created, 'p': position, 's': source_id, 'v': value}} AS place
    FROM ({rows}) {semi} WHERE feature_name = $input AND value IS NOT NULL AND moment > $oldest AND moment <= $until"""
_SEMI = """SEMI JOIN (
        SELECT source_id, position FROM ({rows}) WHERE feature_name = $filter AND value <> 0
    ) USING (source_id, position)"""
_CELLS = "SELECT entity_id, cell, {results} FROM (SELECT entity_id, cell, {aggregates} FROM ({events}) GROUP BY ALL)"
_AGAIN = "SELECT entity_id, cell, {numbers} FROM touched LEFT JOIN ({cells}) USING (entity_id, cell)"
_ENTITIES = """
    SELECT DISTINCT entity_id FROM (
        SELECT entity_id, feature_name FROM features UNION ALL SELECT entity_id, feature_name FROM superseded
    ) WHERE feature_name = $input AND {within}"""

_PLACES = {"moment": "m", "created": "c", "position": "p", "source": "s", "value": "v"}
_AGGREGATES = {
    "n": "count(*) AS n",
    "sum": "sum(value) AS sum",
    "mean": "avg(value) AS mean",
    "m2": f"""CASE WHEN max(abs(value)) < {_SQUARABLE}
        THEN var_pop(value) FILTER (WHERE abs(value) < {_SQUARABLE}) * count(*) ELSE 'inf'::DOUBLE END AS m2""",
    "min": "min(value) AS min",
    "max": "max(value) AS max",
    "first": "min(place) AS first",
    "last": "max(place) AS last",
    "seen": f"list_slice(list_sort(list(DISTINCT value)), 1, {MAX_DISTINCT + 1}) AS seen",
}


def changes(reads: DuckReads, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
    """Return what happened after `since`, for cells of now.

    With `whole` the cells are computed again that new commits touch, also when they had been added to some of them before.
    So they are where rows were replaced or came out of order: a replay, a backfill, events that lay in the future.
    """
    names = inputs_of(panes)
    with reads.snapshot() as snapshot:
        end = _end(snapshot)
        if end == since.row and not whole:
            return WindowChanges(end, end)
        row = _step(snapshot, since.row)
        news = snapshot.query(_NEWS, {"row": since.row, "up_to": row})
        if sum(news["n"].to_pylist()) > MOST_ROWS or end < since.row:
            return WindowChanges(row, end, is_too_much=True)
        whole = whole or bool({SourceKind.REPLAY, SourceKind.BACKFILL} & set(news["kind"].to_pylist()))
        fresh = _fresh(snapshot, news, names, min(pane.oldest(now_us) * pane.hop_us for pane in panes), replaced=whole)
        if whole:
            due = snapshot.query(_DUE, {"names": names, "after": since.until_us, "until": now_us, "most": MOST_ROWS + 1})
            if len(due) > MOST_ROWS:
                return WindowChanges(row, end, is_too_much=True)
            fresh = pa.concat_tables([fresh, due])
        snapshot.give("fresh", fresh)
        found = {pane.name: (_again if whole else _added)(snapshot, pane, now_us) for pane in panes}
        later = _next(snapshot, names, now_us) if whole else pc.min(fresh["moment"].filter(pc.greater(fresh["moment"], now_us)))
    return WindowChanges(row, end, whole, cells=found, next_us=later.as_py())


def page(reads: DuckReads, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
    """Return all cells of the entities in `(above, up_to]`."""
    within = "entity_id > $above" + ("" if up_to is None else " AND entity_id <= $up_to")
    bounds = {"above": above} | ({} if up_to is None else {"up_to": up_to})
    with reads.snapshot() as snapshot:
        row = _end(snapshot)
        cells, entities = {}, {}
        for pane in panes:
            rows = _OF_HISTORY.format(where=f"AND {within}")
            cells[pane.name] = snapshot.query(_cells(pane, rows), _parameters(pane, now_us) | bounds)
            found = snapshot.query(_ENTITIES.format(within=within), {"input": pane.input} | bounds)
            entities[pane.name] = found["entity_id"].to_pylist()
    return WindowPage(row, cells, entities)


def _end(snapshot: Snapshot) -> int:
    return int(snapshot.query(_END)["n"][0].as_py())


def _step(snapshot: Snapshot, row: int) -> int:
    """Return the last row of the ledger that a step after `row` takes."""
    found = snapshot.query(_STEP, {"row": row, "most": MOST_ROWS})["n"][0].as_py()
    return row if found is None else int(found)


def _next(snapshot: Snapshot, names: Sequence[str], now_us: int) -> pa.Scalar:
    return snapshot.query(_NEXT, {"names": names, "until": now_us})["moment"][0]


def _fresh(snapshot: Snapshot, news: pa.Table, names: Sequence[str], oldest: int, *, replaced: bool) -> pa.Table:
    """Return the rows of new commits, and those that they replaced."""
    snapshot.give("news", news)
    sources, firsts = news["source_id"].to_pylist(), news["first"].to_pylist()
    wanted: dict[str, Any] = {"names": names, "oldest": max(0, oldest), "sources": sources}
    fresh = snapshot.query(_FRESH, wanted | {"lowest": min(firsts, default=0)})
    return pa.concat_tables([fresh, snapshot.query(_REPLACED, wanted)]) if replaced else fresh


def _added(snapshot: Snapshot, pane: Pane, now_us: int) -> pa.Table:
    return snapshot.query(_cells(pane, _OF_FRESH), _parameters(pane, now_us))


def _again(snapshot: Snapshot, pane: Pane, now_us: int) -> pa.Table:
    """Return the touched cells, computed from all of history."""
    parameters = _parameters(pane, now_us)
    times = {"oldest": parameters["oldest"], "until": now_us, "names": list(pane.inputs)}
    touched = snapshot.query(_TOUCHED.format(hop=pane.hop_us), times)
    snapshot.give("touched", touched)
    where = "AND entity_id IN (SELECT entity_id FROM touched)"
    cells = touched["cell"].to_pylist()
    bounded = parameters | {"oldest": min(cells, default=0) * pane.hop_us}
    columns = ", ".join(_results(Layout.of(pane.functions)))
    return snapshot.query(_AGAIN.format(numbers=columns, cells=_cells(pane, _OF_HISTORY.format(where=where))), bounded)


def _parameters(pane: Pane, now_us: int) -> dict[str, Any]:
    found = {"input": pane.input, "oldest": max(0, pane.oldest(now_us) * pane.hop_us), "until": now_us}
    return found | ({"filter": pane.filter} if pane.filter else {})


def _cells(pane: Pane, rows: str) -> str:
    """Return a query for the cells of rows."""
    layout = Layout.of(pane.functions)
    semi = _SEMI.format(rows=rows) if pane.filter else ""
    events = _EVENTS.format(hop=pane.hop_us, rows=rows, semi=semi)
    wanted = dict.fromkeys(column.split("_")[0] for column in _results(layout))
    aggregates = ", ".join(_AGGREGATES[name] for name in wanted)
    return _CELLS.format(results=", ".join(map(_result, _results(layout))), aggregates=aggregates, events=events)


def _results(layout: Layout) -> list[str]:
    return [*layout.columns, "seen"] if layout.is_distinct else [*layout.columns]


def _result(column: str) -> str:
    edge, _, part = column.partition("_")
    return f"{edge}.{_PLACES[part]} AS {column}" if part else column
