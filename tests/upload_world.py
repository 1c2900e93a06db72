"""The upload service on stores in memory, for the tests of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from cluster.config import IngestConfig, UploadsConfig
from cluster.errors import RaytideError
from cluster.monitoring.memory import MemoryMetrics
from cluster.records import Origin
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, FileSource, Long
from cluster.stores.memory_offline import MemoryOfflineStore
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OfflineStore, Upload, UploadState
from cluster.uploads import LocalPieceRunner, PieceRunner, UploadHeader, UploadProgress, UploadService

NOW_US = 1_800_000_000_000_000
SOURCE = FileSource("features", Long())
CATALOG = build("demo", [FeatureView("ages", Entity("user", "user_id"), SOURCE, [Field("age")], online=True)]).registered_as(3)
HEADER = b"entity_id,feature_name,value,event_timestamp\n"
ROWS = b"u1,age,1,2024-05-01\nu2,age,two,2024-05-01\nu1,age,3,2024-05-02\n"
FILE = HEADER + ROWS * 5
DONE = [UploadState.STORED, UploadState.PROCESSING, UploadState.COMMITTED, UploadState.DONE]


class Offline(MemoryOfflineStore):
    """Remembers the states that uploads went through; `before(method)` may raise or wait in front of any call."""

    def __init__(self) -> None:
        super().__init__(lambda: NOW_US)
        self.states: list[UploadState] = []
        self.before: Callable[[str], None] = lambda _method: None
        self.after: Callable[[str], None] = lambda _method: None

    def begin_upload(self, upload: Upload) -> Upload:
        self.before("begin_upload")
        return super().begin_upload(upload)

    def set_upload_state(self, upload_id: str, state: UploadState, error: str = "") -> Upload:
        self.before(f"set {state}")
        self.states.append(state)
        return super().set_upload_state(upload_id, state, error)

    def open_upload(self, upload_id: str, origin: Origin) -> None:
        self.before("open_upload")
        super().open_upload(upload_id, origin)  # which sets PROCESSING

    def append_upload(self, upload_id: str, piece: int, batch: Any) -> None:
        self.before("append_upload")
        super().append_upload(upload_id, piece, batch)

    def commit_upload(self, upload_id: str, pieces: int) -> Upload:
        self.before("commit_upload")
        upload = super().commit_upload(upload_id, pieces)
        self.states.append(upload.state)
        self.after("commit_upload")
        return upload

    def upload_newest(self, upload_id: str, features: Sequence[str]) -> Iterator[pa.Table]:
        self.before("upload_newest")
        return super().upload_newest(upload_id, features)

    def lose_transactions(self) -> None:
        """Do what a restart of the writer does."""
        self._open.clear()

    def rows(self) -> list[tuple[str, float, int]]:
        found = [r for batches in self.files.values() for b in batches for r in b.rows.to_pylist()]
        return sorted((r["entity_id"], r["value"], r["position"]) for r in found)


class World:
    """The stores and the spool, which outlive a service, and services on them."""

    def __init__(self, folder: Path) -> None:
        self.offline, self.online, self.now_us = Offline(), MemoryOnlineStore(), NOW_US
        self.metrics = MemoryMetrics()
        self.config = UploadsConfig(spool=str(folder / "spool"), piece_bytes=40, min_free_bytes=0, concurrent=2)

    def service(self, **changes: Any) -> UploadService:
        return self.service_with(self.runner(), CATALOG, **changes)

    def service_with(self, runner: PieceRunner, catalog: Catalog, **changes: Any) -> UploadService:
        config = self.config.model_copy(update=changes)
        parts = self.port, self.online, lambda: catalog, config, runner, lambda: self.now_us
        return UploadService(*parts, metrics=self.metrics)

    def runner(self) -> LocalPieceRunner:
        return LocalPieceRunner(IngestConfig(), self.port)

    @property
    def port(self) -> OfflineStore:
        return cast("OfflineStore", self.offline)  # the twin has no SQL, and uploads need none

    def is_killed(self, service: UploadService) -> None:
        """Let go of what a service's process had in its hands, as the kernel does; the service itself never does."""
        claims = service._spool.claims
        for file in claims._held.values():
            os.close(file)
        claims.release = lambda _name: None  # type: ignore[method-assign, assignment]

    def spooled(self) -> list[str]:
        return sorted(file.name for file in Path(self.config.spool).iterdir() if file.is_file())

    def part(self) -> Path:
        """Return where the beginning of the only upload is."""
        return Path(self.config.spool) / f"{self.only_upload().upload_id}.part"

    def waits_seconds(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)

    def only_upload(self) -> Upload:
        (upload,) = self.offline.list_uploads()
        return upload

    def assert_taken_once(self) -> None:
        upload = self.only_upload()
        assert (upload.state, upload.rows, upload.rejected, upload.error) == (UploadState.DONE, 10, 5, "")
        expected = [("u1", 1.0, p) for p in range(0, 15, 3)] + [("u1", 3.0, p) for p in range(2, 15, 3)]
        assert self.offline.rows() == expected
        rejects = [r for batches in self.offline.files.values() for b in batches for r in b.rejects.to_pylist()]
        assert sorted((r["position"], r["reason"], r["payload"]) for r in rejects) == [
            (p, "wrong_type", b"u2,age,two,2024-05-01") for p in range(1, 15, 3)
        ]
        assert self.online.read(["u1"], ["age"]).values[0].tolist() == [3.0]
        assert self.spooled() == [upload.upload_id, f"{upload.upload_id}.json"]
        assert Path(self.config.spool, upload.upload_id).read_bytes() == FILE


def header(content: bytes = FILE, **changes: Any) -> UploadHeader:
    plain = UploadHeader("a.csv", "features", "csv", len(content), hashlib.sha256(content).hexdigest(), "key")
    return replace(plain, **changes)


def chunks(content: bytes = FILE) -> Iterator[bytes]:
    for at in range(0, len(content), 50):
        yield content[at : at + 50]


def send(service: UploadService, content: bytes = FILE, **changes: Any) -> list[UploadProgress]:
    return list(service.submit(header(content, **changes), chunks(content)))


def error_of(service: UploadService, content: bytes = FILE, **changes: Any) -> RaytideError:
    with pytest.raises(RaytideError) as caught:
        send(service, content, **changes)
    return caught.value


def wait_until_idle(service: UploadService) -> None:
    """Wait for all work to end, as an orderly stop does not: it breaks off."""
    for job in service._jobs.every():
        for _ in closing_quietly(job.follow()):
            pass


def closing_quietly(progress: Iterator[UploadProgress]) -> Iterator[UploadProgress]:
    try:
        yield from progress
    except RaytideError:
        return


class Fails:
    """Raises in front of the first `times` calls of a method."""

    def __init__(self, method: str, error: RaytideError, times: int = 1) -> None:
        self.method, self.error, self.left = method, error, times

    def __call__(self, method: str) -> None:
        if method == self.method and self.left:
            self.left -= 1
            raise self.error
