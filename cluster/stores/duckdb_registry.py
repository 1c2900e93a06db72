"""The `registry_versions` table: which definitions were in force, numbered from 1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from cluster.stores.duckdb_statements import Cursor, run

NEWEST = "SELECT version, content_hash FROM registry_versions ORDER BY version DESC LIMIT 1"


class RegistryTable:
    """Rows of `registry_versions`. Short transactions on one cursor, any thread."""

    def __init__(self, cursor: Cursor, now_us: Callable[[], int]) -> None:
        self._cursor, self._now_us = cursor, now_us
        self._lock = threading.Lock()

    def register(self, content_hash: str, definition: Mapping[str, Any], applied_by: str) -> int:
        """Return the version of this content, a new one if it differs from the newest."""
        with self._lock:
            [(version, known)] = run(self._cursor, NEWEST) or [(0, None)]
            if known != content_hash:
                version += 1
                self._add(version, content_hash, json.dumps(definition, sort_keys=True), applied_by)
            return int(version)

    def _add(self, version: int, content_hash: str, definition: str, applied_by: str) -> None:
        run(
            self._cursor,
            "INSERT INTO registry_versions VALUES (?, make_timestamp(?::BIGINT), ?, ?, ?, '')",
            [version, self._now_us(), applied_by, content_hash, definition],
        )
