"""Files through the upload service, in this process: what became of each, told the same way for any store."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

from cluster.config import IngestConfig, UploadsConfig
from cluster.errors import RaytideError
from cluster.registry.catalog import Catalog
from cluster.stores.memory_offline import MemoryOfflineStore
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OfflineStore, UploadState
from cluster.uploads import LocalPieceRunner, UploadHeader, UploadProgress, UploadService

NOW_US = 1_800_000_000_000_000
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Sent:
    """A file on its way in."""

    format: str
    content: bytes
    source: str
    options: Mapping[str, str] = field(default_factory=dict)


class Row(NamedTuple):
    """A feature row in history; `at` is its event time in µs."""

    position: int
    entity_id: str
    feature: str
    value: float | None
    at: int


class Reject(NamedTuple):
    """A row in quarantine."""

    position: int
    reason: str
    payload: bytes


@dataclass(frozen=True)
class Became:
    """What became of a file. `state` is None when its header was refused."""

    state: UploadState | None
    error: RaytideError | None
    rows: list[Row]
    rejects: list[Reject]
    counts: tuple[int, int] = (0, 0)


class FileWorld:
    """An upload service on memory stores, its spool in `folder`, its pieces run in the calling thread."""

    def __init__(self, folder: Path, catalog: Catalog, ingest: IngestConfig, piece_bytes: int) -> None:
        self.folder = folder
        self._offline = MemoryOfflineStore(lambda: NOW_US)
        port = cast("OfflineStore", self._offline)  # the twin has no SQL, and uploads need none
        self._keys = itertools.count()
        self.service = UploadService(
            port,
            MemoryOnlineStore(),
            lambda: catalog,
            UploadsConfig(spool=str(folder / "spool"), piece_bytes=piece_bytes, min_free_bytes=0),
            LocalPieceRunner(ingest, port),
            lambda: NOW_US,
            max_record_bytes=ingest.max_record_bytes,
        )

    def close(self) -> None:
        """Stop the service's threads."""
        self.service.close()

    def take(self, sent: Sent) -> Became:
        """Send a file under a key of its own, and return what became of it."""
        key = f"key-{next(self._keys)}"
        sha256 = hashlib.sha256(sent.content).hexdigest()
        header = UploadHeader("file", sent.source, sent.format, len(sent.content), sha256, key, sent.options)
        error = None
        told: list[UploadProgress] = []
        try:
            told.extend(self.service.submit(header, _chunks(sent.content)))
        except RaytideError as raised:
            error = raised
        if not told:
            return Became(None, error, [], [])
        upload = self._offline.get_upload(told[-1].upload.upload_id)
        assert upload.error == ("" if error is None else str(error))
        batches = self._offline.files.get(upload.upload_id, [])
        rows = [
            Row(r["position"], r["entity_id"], r["feature_name"], r["value"], _micros(r["event_timestamp"]))
            for b in batches
            for r in b.rows.to_pylist()
        ]
        rejects = [Reject(r["position"], r["reason"], r["payload"]) for b in batches for r in b.rejects.to_pylist()]
        return Became(upload.state, error, sorted(rows), sorted(rejects), (upload.rows, upload.rejected))


def _chunks(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), CHUNK):
        yield content[at : at + CHUNK]


def _micros(moment: object) -> int:
    assert isinstance(moment, datetime)
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
