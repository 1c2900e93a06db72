"""A small system for tests of backfills: a topic in memory, files, DuckDB, an online store, definitions that change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, cast

from cluster.backfills import Asked, BackfillProgress, BackfillService, LocalStretchRunner
from cluster.backfills.drive import Tools
from cluster.backfills.service import Parts
from cluster.config import IngestConfig, OfflineStoreConfig, UploadsConfig
from cluster.ingest.backfills import Backfill, BackfillState, PartKey
from cluster.ingest.merge import newest
from cluster.ingest.pipeline import SourcePlan
from cluster.rebuild import FULL
from cluster.records import Origin
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, StreamSource, Wide, feature
from cluster.stores.duckdb import DuckStore
from cluster.stores.duckdb_reads import DuckReads
from cluster.stores.memory_kafka import MemoryPartition, MemoryTopic
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OfflineStore
from cluster.uploads import LocalPieceRunner, UploadHeader, UploadService
from cluster.verify import verify

NOW = 1_700_000_000_000_000
USER = Entity("user", "user_id")
SOURCE = StreamSource("events", "t", Wide("user_id", "at", (Field("x"),), timestamp_unit="us"))
FORBIDDEN = 13.0


def definitions(version: int, *, fails: bool = True, online: bool = True, more: bool = False) -> Catalog:
    """Return view `scores`, whose `score` is x times the version, and which from version 2 on fails at FORBIDDEN."""

    @feature(name="score")
    def scaled(x: float) -> float:
        if fails and version > 1 and x == FORBIDDEN:
            raise ValueError("forbidden")
        return x * version

    @feature()
    def shifted(x: float) -> float:
        return x + 100

    names = [scaled, shifted] if more else [scaled]
    views = [FeatureView("scores", USER, SOURCE, names, online=online), FeatureView("raw", USER, SOURCE, [Field("x")])]
    return build("p", views).registered_as(version)


class KafkaTwin:
    """Meets Offsets on a topic in memory."""

    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic

    def partitions_of(self, topic: str) -> int | None:
        return 2 if topic == self._topic.name else None

    def identity(self, topic: str) -> str | None:
        return self._topic.topic_id if topic == self._topic.name else None

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        assert topic == self._topic.name
        return self._topic.bounds(partition)

    def close(self) -> None:
        pass


class BackfillWorld:
    """What outlives services on it. `before` is called with the name of each call to the writer."""

    def __init__(self, folder: Path, *, batch_records: int = 3) -> None:
        self.config = OfflineStoreConfig(path=str(folder / "f.duckdb"), group_commit_ms=0)
        self.store = DuckStore(self.config, count(NOW).__next__)
        self.reads = DuckReads(self.store.database, self.config)
        self.online = MemoryOnlineStore()
        self.online.mark(FULL)
        self.topic = MemoryTopic("t", 2)
        self.catalog = definitions(1)
        self.ingest = IngestConfig(batch_records=batch_records)
        self.before: Callable[[str], None] = lambda _method: None
        self.uploads = self.gateway_of_files(str(folder / "spool"))

    def __getattr__(self, name: str) -> Any:
        """Be the writer, with `before` called first."""
        method = getattr(self.reads if name == "query" else self.store, name)

        def call(*args: Any, **options: Any) -> Any:
            self.before(name)
            return method(*args, **options)

        return call

    def send(self, *events: tuple[str, int, float | str], partition: int = 0) -> None:
        """Append events: user, time after NOW in µs, x. Their messages' times are all the same."""
        for user, at, x in events:
            value = json.dumps({"user_id": user, "at": NOW + at, "x": x}).encode()
            self.topic.append(value, partition=partition, timestamp=NOW)

    def stream(self, partition: int = 0) -> None:
        """Do what a partition's actor does with all that is new."""
        source = MemoryPartition(self.topic, partition, self.ingest)
        start = self.store.open_partition("t", partition, source.beginning(), source.identity())
        source.seek(start.next_offset)
        plan = SourcePlan.compile(self.catalog, "events", self.ingest)
        while records := source.poll(0):
            outcome = plan.run(records, NOW)
            if len(outcome.rows):
                self.online.write(newest(outcome.rows))
            origin = Origin.stream("t", partition, self.catalog.version)
            self.store.commit(outcome.batch(origin, start.epoch, (records.first, records.next)))

    def gateway_of_files(self, spool: str, piece_bytes: int = 200) -> UploadService:
        """Return an upload service whose pieces have a few rows each."""
        config = UploadsConfig(spool=spool, piece_bytes=piece_bytes, min_free_bytes=0)
        port = cast("OfflineStore", self.store)  # without SQL, which uploads do not need
        return UploadService(
            port,
            self.online,
            lambda: self.catalog,
            config,
            LocalPieceRunner(self.ingest, port),
            lambda: NOW,
            max_record_bytes=self.ingest.max_record_bytes,
        )

    def upload(self, content: bytes, kind: str = "jsonl") -> str:
        """Send a file of source `events`; return the upload's id when it is DONE."""
        digest = hashlib.sha256(content).hexdigest()
        header = UploadHeader(f"f.{kind}", "events", kind, len(content), digest, digest, {})
        *_, last = self.uploads.submit(header, [content])
        assert last.upload.state == "DONE", last.upload
        return last.upload.upload_id

    def service(self) -> BackfillService:
        runner = LocalStretchRunner(
            lambda _topic, partition: MemoryPartition(self.topic, partition, self.ingest),
            (self, self.online),
            self.ingest,
            lambda: NOW,
        )
        tools = Tools(self, self.online, self.uploads.originals, runner)
        return BackfillService(Parts(tools, lambda: self.catalog, lambda: KafkaTwin(self.topic), "gateway:1"))

    def backfill(self, since: int = 0, until: int = 10**9, view: str = "scores") -> BackfillProgress:
        """Run one to its end; times are µs after NOW."""
        return list(self.service().run(self.asked(since, until, view)))[-1]

    def asked(self, since: int = 0, until: int = 10**9, view: str = "scores") -> Asked:
        """Return a range; times are µs after NOW."""
        return Asked(view, NOW + since, NOW + until)

    def crawl(self, since: int, until: int, partitions: Iterable[int] = (0, 1)) -> Backfill:
        """Do what a service does in its threads, here, so that a test can let it die anywhere."""
        service = self.service()
        asked = service.plan(Asked("scores", NOW + since, NOW + until)).backfill
        running = [b for b in self.store.list_backfills() if b.state is BackfillState.RUNNING and b.asks_the_same(asked)]
        opened = running[0] if running else service._open(asked)
        for part in opened.parts:
            while part.partition in partitions and part.published < part.end:
                self._take_further(service._parts.tools, opened, part.key)
                opened = self.store.get_backfill(opened.backfill_id)
                part = opened.part(part.key)  # noqa: PLW2901 - the same part, further on
        return opened

    def _take_further(self, tools: Tools, opened: Backfill, key: PartKey) -> None:
        if not key.upload_id:
            tools.runner.run(self.catalog, opened, key)
            return
        upload = self.store.get_upload(key.upload_id)
        for piece in tools.files.pieces(self.catalog, upload):
            tools.runner.run_piece(self.catalog, opened, upload, piece)

    def of_file(self, upload_id: str, table: str = "features", feature: str = "score") -> dict[int, tuple[float, str, int]]:
        """Return what a table holds of a feature of a file: by row, value, kind and version."""
        found = self.reads.query(
            f"""SELECT position, value, kind, registry_version FROM {table} JOIN sources USING (source_id)
            WHERE feature_name = ? AND upload_id = ? ORDER BY ALL""",
            [feature, upload_id],
        )
        rows = [tuple(row.values()) for row in found.to_pylist()]
        assert len({row[0] for row in rows}) == len(rows) or table != "features", "one version of each record"
        return {position: (value, kind, version) for position, value, kind, version in rows}

    def scores(self, table: str = "features", feature: str = "score") -> dict[tuple[int, int], tuple[float, str, int]]:
        """Return what a table holds of a feature: by partition and position, value, kind and version."""
        found = self.reads.query(
            f"""SELECT "partition", position, value, kind, registry_version FROM {table} JOIN sources USING (source_id)
            WHERE feature_name = ? AND upload_id IS NULL ORDER BY ALL""",
            [feature],
        )
        rows = [tuple(row.values()) for row in found.to_pylist()]
        assert len({row[:2] for row in rows}) == len(rows) or table != "features", "one version of each record"
        return {(partition, position): (value, kind, version) for partition, position, value, kind, version in rows}

    def served(self, user: str, feature: str = "score") -> float | None:
        """Return what the online store serves."""
        answer = self.online.read([user], [feature])
        return float(answer.values[0][0]) if answer.found[0][0] else None

    def check(self) -> None:
        report = verify(self.reads, self.online, self.catalog, lambda: {("t", 0): self.topic.bounds(0)[1]}, patience_s=0)
        assert report.ok, report.to_dict()

    def close(self) -> None:
        self.uploads.close()
        self.store.close()
