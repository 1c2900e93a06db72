"""The `uploads` table: which files there are and how far each got. Short transactions on one cursor, any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cluster.errors import NotFound
from cluster.stores.duckdb_statements import Cursor, run
from cluster.stores.ports import Upload, UploadState
from cluster.stores.upload_rules import BROKEN_OFF, ENDED, check_move, check_same_file

_COLUMNS = """upload_id, idempotency_key, name, source, format, sha256, bytes, state, "rows", rejected, error,
    epoch_us(created_at), epoch_us(updated_at)"""

SET_STATE = """UPDATE uploads SET state = ?, error = ?, updated_at = make_timestamp(?::BIGINT) WHERE upload_id = ?"""


class UploadTable:
    """Rows of `uploads`. The lock makes an idempotency key unique; nothing else writes to the table meanwhile."""

    def __init__(self, cursor: Cursor, now_us: Callable[[], int]) -> None:
        self._cursor, self._now_us = cursor, now_us
        self._lock = threading.Lock()

    def begin(self, upload: Upload) -> Upload:
        """Record an upload, or return the one known under its key; see OfflineStore.begin_upload."""
        with self._lock:
            known = self._find("idempotency_key = ?", upload.idempotency_key)
            if known is None:
                self._add(upload)
                return self._get(upload.upload_id)
            check_same_file(known, upload)
            if known.state in BROKEN_OFF:
                self._move(known.upload_id, UploadState.RECEIVING, "")
            return self._get(known.upload_id)

    def set_state(self, upload_id: str, state: UploadState, error: str) -> Upload:
        """Move an upload; raise Refused for a move that would contradict what is in history."""
        with self._lock:
            known = self._get(upload_id)
            check_move(known, state)
            if (known.state, known.error) != (state, error):
                self._move(upload_id, state, error)
            return self._get(upload_id)

    def get(self, upload_id: str) -> Upload:
        """Return an upload; raise NotFound."""
        with self._lock:
            return self._get(upload_id)

    def newest(self, limit: int) -> list[Upload]:
        """Return uploads, newest first."""
        with self._lock:
            query = f"SELECT {_COLUMNS} FROM uploads ORDER BY created_at DESC, upload_id DESC LIMIT ?"  # noqa: S608 - constant
            return [_upload(row) for row in run(self._cursor, query, [limit])]

    def counts(self) -> tuple[dict[str, int], int | None]:
        """Return how many files are in each state, and when the oldest of those that have not ended began (µs)."""
        with self._lock:
            rows = run(self._cursor, "SELECT state, count(*), epoch_us(min(created_at)) FROM uploads GROUP BY state")
        began = [at for state, _, at in rows if UploadState(state) not in ENDED]
        return {state: count for state, count, _ in rows}, min(began, default=None)

    def _get(self, upload_id: str) -> Upload:
        upload = self._find("upload_id = ?", upload_id)
        if upload is None:
            raise NotFound(f"no upload is called '{upload_id}': see `raytide uploads list`")
        return upload

    def _find(self, condition: str, value: str) -> Upload | None:
        rows = run(self._cursor, f"SELECT {_COLUMNS} FROM uploads WHERE {condition}", [value])  # noqa: S608 - constants
        return _upload(rows[0]) if rows else None

    def _add(self, upload: Upload) -> None:
        now_us = self._now_us()
        values = [upload.upload_id, upload.idempotency_key, upload.name, upload.source, upload.format, upload.sha256]
        run(
            self._cursor,
            """INSERT INTO uploads VALUES
               (?, ?, ?, ?, ?, ?, ?, ?, 0, 0, '', make_timestamp(?::BIGINT), make_timestamp(?::BIGINT))""",
            [*values, upload.bytes, str(upload.state), now_us, now_us],
        )

    def _move(self, upload_id: str, state: UploadState, error: str) -> None:
        run(self._cursor, SET_STATE, [str(state), error, self._now_us(), upload_id])


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, key, name, source, kind, sha256, size, state, *rest = row
    return Upload(upload_id, key, name, source, kind, sha256, size, UploadState(state), *rest)
