"""Logs: one set-up for every process, one line for each event, identity bound once by whoever owns it."""

from __future__ import annotations

import logging
import sys

import structlog

from cluster.config import TelemetryConfig


def set_up_logs(telemetry: TelemetryConfig) -> None:
    """Log structured lines to standard error from `telemetry.log_level` on. Call once in each process."""
    level = logging.getLevelNamesMapping()[telemetry.log_level.upper()]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # Its reconnecting logs several errors a second; what is away is in `raytide status`, and one line in ten seconds here.
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Seldom("kafka", every_s=10.0))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class _Seldom(logging.Filter):
    """Lets one record of a library through in `every_s` seconds, and all of everything else."""

    def __init__(self, library: str, every_s: float) -> None:
        super().__init__()
        self._library, self._every_s, self._last = library, every_s, float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        if record.name.partition(".")[0] != self._library:
            return True
        if record.levelno < logging.WARNING or record.created - self._last < self._every_s:
            return False
        self._last = record.created
        return True
