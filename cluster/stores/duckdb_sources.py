"""Short numbers for where rows came from: the `sources` table."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pyarrow as pa

from cluster.records import Origin, SourceKind
from cluster.stores.duckdb_statements import Cursor, insert, run

KNOWN = """
    SELECT source_id, kind, registry_version, topic, "partition", upload_id, incarnation, backfill_id FROM sources"""


class SourceIds:
    """Gives each origin one id for ever, stored in the transaction that first uses it. Any thread.

    Ids taken by a transaction that is rolled back are not used again. No two transactions may be open for the same new
    origin: streams have the one committer, a file its own transaction.
    """

    def __init__(self, cursor: Cursor) -> None:
        rows = run(cursor, KNOWN)
        self._known = {Origin(SourceKind(kind), *rest): number for number, kind, *rest in rows}
        self._last = max(self._known.values(), default=0)
        self._lock = threading.Lock()

    def find(self, origin: Origin) -> int | None:
        """Return the id of an origin, or None when nothing of it was ever stored."""
        with self._lock:
            return self._known.get(origin)

    def assign(self, cursor: Cursor, origins: Iterable[Origin], now_us: int) -> dict[Origin, int]:
        """Return the ids of `origins`, storing new ones in the transaction that is open on `cursor`."""
        wanted = dict.fromkeys(origins)
        with self._lock:
            new = [origin for origin in wanted if origin not in self._known]
            ids = {origin: self._known[origin] for origin in wanted if origin in self._known}
            ids.update({origin: self._last + n for n, origin in enumerate(new, 1)})
            self._last += len(new)
        if new:
            insert(cursor, "sources", _table({origin: ids[origin] for origin in new}, now_us))
        return ids

    def confirm(self, ids: dict[Origin, int]) -> None:
        """Remember ids whose transaction is durable."""
        with self._lock:
            self._known.update(ids)


def _table(ids: dict[Origin, int], now_us: int) -> pa.Table:
    return pa.table(
        {
            "source_id": pa.array(ids.values(), pa.int32()),
            "kind": pa.array([str(origin.kind) for origin in ids], pa.string()),
            "topic": pa.array([origin.topic for origin in ids], pa.string()),
            "partition": pa.array([origin.partition for origin in ids], pa.int32()),
            "upload_id": pa.array([origin.upload_id for origin in ids], pa.string()),
            "registry_version": pa.array([origin.registry_version for origin in ids], pa.int32()),
            "created_at": pa.array([now_us] * len(ids), pa.timestamp("us")),
            "incarnation": pa.array([origin.incarnation for origin in ids], pa.int32()),
            "backfill_id": pa.array([origin.backfill_id for origin in ids], pa.string()),
        },
    )
