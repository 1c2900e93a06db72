"""Sets the app's gauges every few seconds: in one process, so that each has one value."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from actors import handles
from actors.clients import WriterClient
from cluster.clock import now_us
from cluster.monitoring import gauges
from cluster.monitoring.metrics import Metrics
from cluster.status import LimiterReport, OnlineReport, PartitionReport
from cluster.stores.duckdb_status import WriterStatus

LOOK_SECONDS = 5.0
ANSWER_SECONDS = 3.0

Partitions = Callable[[], Sequence[PartitionReport]]


class Gauges:
    """Caller: the supervisor, which says what it knows of partitions and of Redis. Runs until `stop` is set."""

    def __init__(self, partitions: Partitions, online: Callable[[], OnlineReport], metrics: Metrics) -> None:
        self._partitions, self._online, self._metrics = partitions, online, metrics
        self._writer = WriterClient()
        self._log = structlog.get_logger()

    def run(self, stop: threading.Event) -> None:
        """Look again and again."""
        while not stop.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("gauges_look_failed")

    def _look(self) -> None:
        gauges.of_partitions(self._metrics, self._partitions())
        gauges.of_online(self._metrics, self._online())
        writer: WriterStatus | None = handles.quietly(self._writer.snapshot, None)
        gauges.of_writer(self._metrics, writer)
        if writer is not None:
            gauges.of_uploads(self._metrics, writer, now_us())
        ask = partial(handles.Remote(handles.LIMITER, ANSWER_SECONDS).call, "snapshot")
        limiter: LimiterReport | None = handles.quietly(ask, None)
        if limiter is not None:
            gauges.of_limiter(self._metrics, limiter)
