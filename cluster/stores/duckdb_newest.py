"""The newest values of one file, for the online store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from cluster.records import ROWS_SCHEMA
from cluster.stores.duckdb_statements import Cursor

#: Rows in one table: what the online store takes in one go.
TABLE_ROWS = 50_000

#: A struct compares field by field, so its maximum is the newest row whole; a null value never decides, because
#: (position, feature) is unique.
NEWEST = """
    SELECT entity_id, feature_name, newest.value, newest.event_timestamp, newest.created_at, newest.position
    FROM (
        SELECT entity_id, feature_name,
               max({'event_timestamp': event_timestamp, 'created_at': created_at, 'position': position, 'value': value}) newest
        FROM features
        WHERE source_id IN (SELECT source_id FROM sources WHERE upload_id = $upload AND kind = 'upload')
          AND feature_name IN (SELECT unnest($features::VARCHAR[]))
        GROUP BY entity_id, feature_name
    )"""


def newest_of(cursor: Cursor, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the newest row of each (entity, feature) in tables of ROWS_SCHEMA; the order of rows is not fixed."""
    found = cursor.sql(NEWEST, params={"upload": upload_id, "features": list(features)})
    for batch in found.to_arrow_reader(TABLE_ROWS):
        table = pa.Table.from_batches([batch])
        names = table["feature_name"].combine_chunks().dictionary_encode()
        yield table.set_column(1, "feature_name", names).cast(ROWS_SCHEMA)
