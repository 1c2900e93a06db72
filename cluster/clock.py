"""The one clock of the app."""

from __future__ import annotations

import time

from cluster.faults import clock_ahead_us


class Clock:
    """A machine's clock that never says less than what its process has lived through.

    When the machine's clock is set back, an event of this moment must not look like one from the future: it would be
    rejected. So time goes on from where the process started. A process that starts afterwards knows no better.
    """

    def __init__(self) -> None:
        self._since_boot_us = _wall_us() - _lived_us()

    def now_us(self) -> int:
        """Return UTC in microseconds since 1970."""
        return max(_wall_us(), self._since_boot_us + _lived_us())


def _wall_us() -> int:
    return time.time_ns() // 1000 + clock_ahead_us()


def _lived_us() -> int:
    return time.monotonic_ns() // 1000


now_us = Clock().now_us
