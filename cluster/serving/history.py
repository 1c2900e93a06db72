"""Which rows a historical read looks at."""

from __future__ import annotations

#: Rows but those that were committed after row `$ledger_row` of the ledger (stores/duckdb_windows.py).
UP_TO_ROW = """(
            SELECT * FROM features ANTI JOIN (
                SELECT source_id, min(first_position) AS first, max(next_position) AS next
                FROM batches WHERE rowid > $ledger_row GROUP BY source_id
            ) AS later ON features.source_id = later.source_id AND position >= first AND position < next
        )"""
_COLUMNS = "entity_id, feature_name, value, event_timestamp, created_at, position, source_id"


def of_versions(parameter: str) -> str:
    """Return a subquery for the rows of the registry versions in a parameter.

    What a backfill replaced counts as well: it is what those versions computed.
    """
    return f"""(
            SELECT {_COLUMNS} FROM (SELECT {_COLUMNS} FROM features UNION ALL SELECT {_COLUMNS} FROM superseded)
            WHERE source_id IN (
                SELECT source_id FROM sources WHERE registry_version IN (SELECT unnest(${parameter}::INTEGER[]))
            )
        )"""  # noqa: S608 - made of this module's constants and a name of ours
