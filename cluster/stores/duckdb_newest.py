"""The newest values of history, of one file or of one replay, for the online store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from cluster.records import ROWS_SCHEMA

if TYPE_CHECKING:  # clients read this module, on machines without DuckDB
    from cluster.stores.duckdb_statements import Cursor

#: Rows in one table: what the online store takes in one go.
TABLE_ROWS = 50_000

#: The newest time of each (entity, feature) first, which is cheap; a maximum of whole rows only among the rows of that time.
#: A struct compares field by field, so its maximum is the newest row; a null value never decides, because (position, feature)
#: is unique.
_NEWEST = """
    WITH wanted AS (
        SELECT * FROM features WHERE feature_name IN (SELECT unnest($1::VARCHAR[])) AND {wanted}
    ), latest AS (
        SELECT entity_id, feature_name, max(event_timestamp) AS event_timestamp FROM wanted GROUP BY ALL
    )
    SELECT entity_id, feature_name, newest.value, event_timestamp, newest.created_at, newest.position
    FROM (
        SELECT entity_id, feature_name, event_timestamp,
               max({{'created_at': created_at, 'position': position, 'value': value}}) AS newest
        FROM wanted SEMI JOIN latest USING (entity_id, feature_name, event_timestamp)
        GROUP BY ALL
    )"""
#: Parameters: features, upload.
OF_UPLOAD = _NEWEST.format(
    wanted="source_id IN (SELECT source_id FROM sources WHERE upload_id = $2 AND kind = 'upload')",
)
#: Parameters: features, source_id, first position, next position.
OF_POSITIONS = _NEWEST.format(wanted="source_id = $2 AND position >= $3 AND position < $4")
#: Parameters: features, above, up to (NULL: no end). Rows of all origins count; where they are equally new, any of them is
#: right (cluster/verify/newest.py).
#: In the order in which writing is fastest.
OF_ENTITIES = (
    _NEWEST.format(wanted="entity_id > $2 AND ($3::VARCHAR IS NULL OR entity_id <= $3)") + " ORDER BY entity_id, feature_name"
)


def newest_of(cursor: Cursor, statement: str, features: Sequence[str], *parameters: str | int) -> Iterator[pa.Table]:
    """Yield the newest row of each (entity, feature) in tables of ROWS_SCHEMA; the order of rows is not fixed."""
    found = cursor.sql(statement, params=[list(features), *parameters])
    for batch in found.to_arrow_reader(TABLE_ROWS):
        yield as_rows(pa.Table.from_batches([batch]))


def as_rows(found: pa.Table) -> pa.Table:
    """Return what any statement found as a table of ROWS_SCHEMA."""
    names = found["feature_name"].combine_chunks().dictionary_encode()
    return found.set_column(1, "feature_name", names).cast(ROWS_SCHEMA)
