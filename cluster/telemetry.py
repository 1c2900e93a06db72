"""Logs: one set-up for every process, one line for each event, identity bound once by whoever owns it."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict

from cluster.config import TelemetryConfig

_identity: dict[str, Any] = {}


def set_up_logs(telemetry: TelemetryConfig, **identity: Any) -> None:
    """Log structured lines to standard error from `telemetry.log_level` on; `identity` is in each of them.

    Call once in each process, and again in one that takes up other work.
    """
    _identity.clear()
    _identity.update(identity)
    level = logging.getLevelNamesMapping()[telemetry.log_level.upper()]
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # Its reconnecting logs several errors a second; what is away is in `raytide status`, and one line in ten seconds here.
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Seldom("kafka", every_s=10.0))
    structlog.configure(
        processors=[
            _identified,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Careless(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _identified(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Say whose line it is. Read at each line: a logger that is in use already keeps the processors that it began with."""
    return {**_identity, **event}


class _Careless:
    """A stream that loses what it cannot write: a disk that is full must not end the thread that wanted to say so."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()


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
