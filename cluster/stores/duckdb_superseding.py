"""What a chunk of a backfill does to history, in one transaction: rows of older definitions go, recomputed ones come.

The old ones move to `superseded` (decision 0015), so that every read of `features`, also a user's own, sees one version of
a record and needs to know nothing of backfills.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest.backfills import Backfill, BackfillPart, Changes, PartKey, Stored, decided
from cluster.records import Batch
from cluster.stores.duckdb_newest import as_rows
from cluster.stores.duckdb_statements import Cursor, incoming, insert
from cluster.stores.replay_rules import limited_to

# What is stored of a share's records, however it came in. Parameters of all: topic, partition, upload_id, incarnation.
_PLACE = """source_id IN (SELECT source_id FROM sources WHERE topic IS NOT DISTINCT FROM $topic
        AND "partition" IS NOT DISTINCT FROM $partition AND upload_id IS NOT DISTINCT FROM $upload_id
        AND incarnation = $incarnation {more})"""
_OF_VIEW = "feature_name IN (SELECT unnest($features::VARCHAR[])) AND position BETWEEN $first AND $last"
# Rows of the same definitions, or of newer ones, which somebody applied meanwhile, stay.
_CURRENT = f"""
    SELECT DISTINCT position FROM features
    WHERE {_PLACE.format(more="AND registry_version >= $version")} AND {_OF_VIEW}
        AND position IN (SELECT position FROM incoming)"""  # noqa: S608 - made of this module's constants
# A reject that is open has no rows to replace, and a replay, if one comes, brings some.
_OPEN = f"""
    SELECT DISTINCT position FROM quarantine
    WHERE {_PLACE.format(more="AND kind IN ('stream', 'upload')")} AND replayed_at IS NULL AND position BETWEEN $first AND $last
        AND position IN (SELECT position FROM incoming)"""  # noqa: S608 - as above
_OLD = f"""
    FROM features
    WHERE {_PLACE.format(more="")} AND {_OF_VIEW} AND position IN (SELECT position FROM incoming)"""  # noqa: S608 - as above
_COPY = f"INSERT INTO superseded BY NAME SELECT *, $source_id AS superseded_by, make_timestamp($now) AS superseded_at {_OLD}"
_IN_RANGE = f"""
    SELECT DISTINCT position FROM features
    WHERE {_PLACE.format(more="AND registry_version < $version")} AND {_OF_VIEW}
        AND event_timestamp >= make_timestamp($since) AND event_timestamp < make_timestamp($until)"""  # noqa: S608 - as above

_LATEST = "max({'e': event_timestamp, 'c': created_at, 'p': position, 'v': value})"
_FRESH = f"""
    SELECT entity_id, feature_name, {_LATEST} AS newest FROM features
    WHERE source_id = $source_id AND position >= $first AND position < $next
        AND feature_name IN (SELECT unnest($features::VARCHAR[])) GROUP BY ALL"""  # noqa: S608 - as above
_GONE = f"""
    SELECT entity_id, feature_name, gone.v AS value, gone.e AS event_timestamp, gone.c AS created_at, gone.p AS position
    FROM (
        SELECT entity_id, feature_name, {_LATEST} AS gone FROM superseded
        WHERE superseded_by = $source_id AND position >= $first AND position < $next
            AND feature_name IN (SELECT unnest($features::VARCHAR[])) GROUP BY ALL
    ) LEFT JOIN ({_FRESH}) USING (entity_id, feature_name)
    WHERE newest IS NULL OR (newest.e, newest.c) < (gone.e, gone.c)
    ORDER BY entity_id, feature_name"""  # noqa: S608 - as above
_ROW = """entity_id, feature_name, newest.v AS value, newest.e AS event_timestamp, newest.c AS created_at,
        newest.p AS position"""
# For what is gone the newest of all history; for the rest what this stretch brought is enough, newer values stay.
_NEWEST = f"""
    SELECT {_ROW} FROM ({_FRESH})
    UNION ALL
    SELECT {_ROW} FROM (
        SELECT entity_id, feature_name, {_LATEST} AS newest FROM features
        SEMI JOIN incoming USING (entity_id, feature_name) GROUP BY ALL
    ) ORDER BY entity_id, feature_name, event_timestamp, created_at"""  # noqa: S608 - as above


class By(NamedTuple):
    """Who supersedes, and when (µs)."""

    source_id: int
    now_us: int


def old_positions(cursor: Cursor, backfill: Backfill, part: BackfillPart, first: int, following: int) -> NDArray[np.int64]:
    """Return the positions in `[first, following)` whose rows in the range were made under older definitions."""
    wanted = _place(part) | _wanted(backfill, first, following - 1) | {"version": backfill.registry_version}
    times = {"since": backfill.since_us, "until": backfill.until_us}
    found: NDArray[np.int64] = cursor.sql(_IN_RANGE, params=wanted | times).to_arrow_table()["position"].to_numpy()
    return np.sort(found)


def supersede(cursor: Cursor, backfill: Backfill, part: BackfillPart, batch: Batch, by: By) -> Stored:
    """Replace rows by those of `batch`, in the open transaction."""
    positions = decided(batch)
    if not len(positions):
        return Stored(0, 0, 0, 0, 0)
    wanted = _place(part) | _wanted(backfill, int(positions[0]), int(positions[-1]))
    with incoming(cursor, _table(positions)):
        waiting = _ask(cursor, _OPEN, {name: value for name, value in wanted.items() if name != "features"})
        current = _ask(cursor, _CURRENT, wanted | {"version": backfill.registry_version})
    taken = np.setdiff1d(positions, np.concatenate([waiting, current]))
    with incoming(cursor, _table(taken)):
        [(superseded,)] = _run(cursor, _COPY, wanted | {"source_id": by.source_id, "now": by.now_us})
        _run(cursor, f"DELETE {_OLD}", wanted)
    rows = limited_to(batch.rows, taken.tolist())
    if len(rows):
        insert(cursor, "features", rows.append_column("source_id", pa.array(np.full(len(rows), by.source_id, np.int32))))
    events = len(np.unique(rows["position"].to_numpy()))
    return Stored(len(taken), events, len(rows), superseded, len(waiting))


def changes(cursor: Cursor, backfill: Backfill, part: BackfillPart, source_id: int) -> Changes:
    """Return what the online store has to learn of what is in history and not online."""
    wanted = {"source_id": source_id, "first": part.published, "next": part.next, "features": list(backfill.features)}
    gone = as_rows(cursor.sql(_GONE, params=wanted).to_arrow_table())
    with incoming(cursor, gone.select(["entity_id", "feature_name"])):
        return Changes(gone, as_rows(cursor.sql(_NEWEST, params=wanted).to_arrow_table()))


def stored_key(key: PartKey) -> tuple[str | None, int | None, str | None]:
    """Return a share's place as tables have it: NULL for what it does not have."""
    return (None, None, key.upload_id) if key.upload_id else (key.topic, key.partition, None)


def _place(part: BackfillPart) -> dict[str, Any]:
    topic, partition, upload_id = stored_key(part.key)
    return {"topic": topic, "partition": partition, "upload_id": upload_id, "incarnation": part.incarnation}


def _wanted(backfill: Backfill, first: int, last: int) -> dict[str, Any]:
    return {"features": list(backfill.features), "first": first, "last": last}


def _table(positions: NDArray[np.int64]) -> pa.Table:
    return pa.table({"position": pa.array(positions, pa.int64())})


def _run(cursor: Cursor, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = cursor.execute(statement, parameters).fetchall()
    return rows


def _ask(cursor: Cursor, statement: str, parameters: dict[str, Any]) -> NDArray[np.int64]:
    return np.array([position for (position,) in _run(cursor, statement, parameters)], np.int64)
