"""The `registry_versions` table: which definitions were in force, numbered from 1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from cluster.errors import NotFound
from cluster.stores.duckdb_statements import Cursor, run
from cluster.stores.ports import Definitions, Shipped

NEWEST = "SELECT version, content_hash FROM registry_versions ORDER BY version DESC LIMIT 1"
_ADD = "INSERT INTO registry_versions VALUES ($1, make_timestamp($2::BIGINT), $3, $4, $5, $6, $7)"
_SHIP_ANEW = "UPDATE registry_versions SET shipped = $1 WHERE version = $2"
_AFTER = "SELECT version, shipped FROM registry_versions WHERE version > $1 ORDER BY version DESC LIMIT 1"
_OF = "SELECT shipped FROM registry_versions WHERE version = $1"


class RegistryTable:
    """Rows of `registry_versions`. Single statements on one cursor, any thread."""

    def __init__(self, cursor: Cursor, now_us: Callable[[], int]) -> None:
        self._cursor, self._now_us = cursor, now_us
        self._lock = threading.Lock()

    def register(self, new: Definitions) -> int:
        """See OfflineStore."""
        with self._lock:
            [(version, known)] = run(self._cursor, NEWEST) or [(0, None)]
            if known == new.content_hash:
                # The newest bytes: what another Python pickled may not load here.
                run(self._cursor, _SHIP_ANEW, [new.shipped, version])
                return int(version)
            definition = json.dumps(new.definition, sort_keys=True)
            row = [version + 1, self._now_us(), new.applied_by, new.content_hash, definition, new.comment, new.shipped]
            run(self._cursor, _ADD, row)
            return int(version) + 1

    def in_force(self, after: int) -> Shipped | None:
        """See OfflineStore."""
        with self._lock:
            found = run(self._cursor, _AFTER, [after])
        return Shipped(int(found[0][0]), found[0][1]) if found else None

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""
        with self._lock:
            found = run(self._cursor, _OF, [version])
        if not found:
            raise NotFound(f"there is no registry version {version}: see `raytide registry versions`")
        if found[0][0] is None:
            raise NotFound(
                f"registry version {version} was made by an older Raytide, which kept no code: apply its files again"
            )
        return bytes(found[0][0])
