"""A node's gRPC edge in a process of its own, or in several: gives `cluster.gateway` its clients and the upload service.

Online reads go straight to Redis; everything that needs history asks the writer. Processes of one node share the port and
the spool (docs/decisions/0019).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow as pa
import structlog

from actors import gateways
from actors.backfill import RayStretchRunner
from actors.ending import FINISH_SECONDS, on_sigterm
from actors.handles import LIMITER, SUPERVISOR, WRITER, Remote, kill, names, partition_name, quietly
from actors.metrics import RayMetrics
from actors.reads import FeatureReads
from actors.replay import RayPartRunner
from actors.upload import RayPieceRunner
from actors.watch import AnswerWatch
from cluster import resets
from cluster.app import App
from cluster.backfills import BackfillService
from cluster.backfills.drive import Tools
from cluster.backfills.service import Parts as BackfillParts
from cluster.clock import now_us
from cluster.dead_letters.service import DeadLetterService
from cluster.dead_letters.service import Parts as DeadLetterParts
from cluster.errors import RetryLater
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.ingest.stream import State
from cluster.monitoring.metrics import VERIFIED, Metrics
from cluster.priority import come_first
from cluster.rebuild import as_it_is, ask
from cluster.registry.catalog import FeatureSpec
from cluster.resets import ResetAnswer, ResetRequest
from cluster.serving.asof import Terms, asking
from cluster.status import (
    Endpoints,
    LimiterReport,
    OnlineReport,
    OnlineState,
    PartitionReport,
    Scope,
    StatusReport,
    WriterReport,
)
from cluster.stores.kafka_admin import KafkaAdmin
from cluster.telemetry import set_up_logs
from cluster.uploads import UploadService
from cluster.verify import SAMPLE, Report, Windows, verify, verify_windows

STATUS_SECONDS = 5.0
SHOWN_UPLOADS = 20


class AppBackend(FeatureReads):
    """Meets the gateway's Backend: what the services of the gRPC edge are allowed to reach."""

    def __init__(self, app: App, name: str, metrics: Metrics) -> None:
        super().__init__(app, metrics)
        self._app, self._name, self._metrics = app, name, metrics
        spool = str(Path(app.folder) / app.config.uploads.spool)
        self.uploads = UploadService(
            self.offline,
            self.online,
            self.definitions.look,
            app.config.uploads.model_copy(update={"spool": spool}),
            RayPieceRunner(app.config, name),
            now_us,
            max_record_bytes=app.config.ingest.max_record_bytes,
            metrics=metrics,
        )
        parts = DeadLetterParts(
            self.offline, self.online, self.definitions.look, RayPartRunner(app.config.ingest, name), app.config.ingest
        )
        self.dead_letters = DeadLetterService(parts)
        tools = Tools(self.offline, self.online, self.uploads.originals, RayStretchRunner(app, name))
        self.backfills = BackfillService(BackfillParts(tools, self.definitions.look, self._kafka, name))
        self.address = ""

    def status(self) -> StatusReport:
        """Ask every part; one that does not answer is shown as away."""
        writer = self._writer()
        return StatusReport(
            project=self._app.config.project,
            registry_version=self.catalog().version,
            taken_at=now_us(),
            endpoints=Endpoints(self._app.bootstrap, without_password(self._app.redis_url), self.address, self._app.dashboard),
            partitions=self._partitions(),
            limiter=quietly(lambda: Remote(LIMITER, STATUS_SECONDS).call("snapshot"), LimiterReport()),
            writer=writer,
            # A writer that is stopped, not dead, would keep a status waiting for as long as any other call.
            uploads=() if writer.state == "AWAY" else tuple(quietly(lambda: self.uploads.to_watch(SHOWN_UPLOADS), [])),
            online=self._online_report(),
            spool=self.uploads.spool_report(),
            gateways=gateways.reports(gateways.expected(self._name, self._app.config.gateway.processes), STATUS_SECONDS),
        )

    def verify(self, wait_s: float, scope: Scope) -> Mapping[str, Any]:
        """Check every promise against the stores, after the streams caught up or `wait_s` passed."""
        windows = Windows(self.online.windows, self._windows_then, None if scope is Scope.FULL else SAMPLE)
        if scope is Scope.WINDOWS:
            return self._counted(verify_windows(self.offline, windows, self.catalog()))
        self._wait_for(self._ends(), wait_s)
        return self._counted(verify(self.offline, self.online, self.catalog(), self._ends, windows=windows))

    def _windows_then(self, entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms) -> pa.Table:
        return self.offline.join(asking(entity_rows, specs, terms), specs, terms, "")

    def _counted(self, report: Report) -> Mapping[str, Any]:
        for check in report.checks:
            self._metrics.add(VERIFIED, check.checked - check.offenders, "right")
            self._metrics.add(VERIFIED, check.offenders, "wrong")
        return report.to_dict()

    def resume_partition(self, topic: str, partition: int, allowed_rejects: int) -> PartitionReport:
        """Ask the supervisor to let a HALTED partition go on."""
        report: PartitionReport = Remote(SUPERVISOR, STATUS_SECONDS).call("resume", topic, partition, allowed_rejects)
        return report

    def reset_partition(self, request: ResetRequest) -> ResetAnswer:
        """Let a partition go on elsewhere; the supervisor builds its actor anew at the next look."""
        admin = KafkaAdmin(self._app.config.kafka, self._app.bootstrap)
        try:
            parts = resets.Parts(self.offline, admin, self._partitions, _restart, self.catalog().version)
            return resets.reset_partition(parts, request)
        finally:
            admin.close()

    def rebuild_online(self) -> Iterator[OnlineReport]:
        """Ask the supervisor, which rebuilds, and follow it; windows are filled again beside that."""
        self.online.windows.forget()
        # The supervisor is in another process, and asking is how one learns how far it is.
        return ask(self.online, self._online_report, lambda: time.sleep(0.2))

    def close(self) -> None:
        """Finish files that are being worked on, and let go of the stores."""
        self.uploads.close()
        super().close()

    def _kafka(self) -> KafkaAdmin:
        return KafkaAdmin(self._app.config.kafka, self._app.bootstrap)

    def _ends(self) -> dict[tuple[str, int], int]:
        admin = KafkaAdmin(self._app.config.kafka, self._app.bootstrap)
        try:
            return admin.ends([source.topic for source in self.catalog().stream_sources])
        finally:
            admin.close()

    def _partitions(self) -> tuple[PartitionReport, ...]:
        """Return what the supervisor says; while it is away, one line for each topic that says so."""
        try:
            return tuple(Remote(SUPERVISOR, STATUS_SECONDS).call("partitions"))
        except RetryLater as error:
            topics = [source.topic for source in self.catalog().stream_sources]
            return tuple(PartitionReport(topic, 0, str(State.AWAY), note=str(error)) for topic in topics)

    def _online_report(self) -> OnlineReport:
        away = OnlineReport(OnlineState.UNKNOWN, "the supervisor, which watches it, does not answer")
        return as_it_is(self.online, quietly(lambda: Remote(SUPERVISOR, STATUS_SECONDS).call("online"), away))

    def _writer(self) -> WriterReport:
        try:
            found = self.offline.snapshot()
        except RetryLater as error:
            notes: dict[str, str] = quietly(lambda: Remote(SUPERVISOR, STATUS_SECONDS).call("notes"), {})
            return WriterReport(note=notes.get(WRITER) or str(error))
        return WriterReport(
            state="RUNNING" if found.healthy else "AWAY",
            note="" if found.healthy else "the database is beyond use; the writer restarts",
            commits=found.transactions,
            batches=found.batches,
            rows=found.rows,
            queued_batches=found.waiting_batches,
            queued_bytes=found.waiting_bytes,
            file_bytes=found.file_bytes + found.wal_bytes,
            free_bytes=found.free_bytes,
        )

    def _wait_for(self, ends: Mapping[tuple[str, int], int], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not quietly(lambda: self._has_committed(ends), otherwise=False):
            time.sleep(0.1)  # the ledger is in another process, and asking is how one learns of a commit

    def _has_committed(self, ends: Mapping[tuple[str, int], int]) -> bool:
        table = self.offline.query("SELECT topic, partition, next_offset FROM partitions")
        stored = {(row["topic"], row["partition"]): row["next_offset"] for row in table.to_pylist()}
        return all(stored.get(key, 0) >= end for key, end in ends.items())


class Gateway:
    """Serves from construction until `close`."""

    def __init__(self, app: App, name: str) -> None:
        come_first()
        set_up_logs(app.config.telemetry, actor=name)
        self._name, self._log = name, structlog.get_logger()
        # A predecessor's slots: its tasks ended with it.
        quietly(lambda: Remote(LIMITER).call("release_job", f"{name}:"), None)
        metrics = RayMetrics()
        self._backend = AppBackend(app, name, metrics)
        self._server = GatewayServer(app.config.gateway, every_service(self._backend, metrics))
        self._server.start()
        self._address = f"{app.config.gateway.host}:{self._server.port}"
        self._backend.address = self._address
        self._backend.dead_letters.start()
        self._backend.backfills.start()
        self._stop = threading.Event()
        # Nobody else watches the supervisor, which watches all others.
        AnswerWatch(lambda: [n for n in names() if n == SUPERVISOR], app.config.ray.unresponsive_s, self._stop, metrics)
        threading.Thread(target=self._keep_uploads, name="keep-uploads", daemon=True).start()
        on_sigterm(lambda: self.close(FINISH_SECONDS))
        self._log.info("gateway_up", address=self._address)

    def __repr__(self) -> str:
        return self._name

    def address(self) -> str:
        """Return host:port."""
        return self._address

    def registry_version(self) -> int:
        """Return the version of the definitions that this gateway reads by."""
        return self._backend.catalog().version

    def switch(self) -> None:
        """Read by the definitions in force from the next call on."""
        self._backend.definitions.look()

    def close(self, seconds: float) -> None:
        """Take no new calls, give running ones `seconds`, and let go of everything."""
        self._backend.dead_letters.close()  # first: a replay ends after the part that it is at, not when all is done
        self._backend.backfills.close()
        self._stop.set()
        self._server.stop(seconds)
        self._backend.close()

    def _keep_uploads(self) -> None:
        try:
            self._backend.uploads.resume_unfinished()
        except Exception:  # noqa: BLE001 - a thread's end would be silent
            self._log.exception("resume_uploads_failed")
        self._backend.uploads.tidy_on()


def _restart(topic: str, partition: int) -> None:
    kill(partition_name(topic, partition))


def without_password(url: str) -> str:
    """Return a URL that may be shown: host, port and path."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
