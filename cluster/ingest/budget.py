"""How long a function may take: for a call, and for a batch in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cluster.ingest.watchdog import WATCHDOG, Stretch

#: What a call has when nobody says otherwise, in seconds.
TIMEOUT_S = 10.0
#: Calls that may run into their timeout in one batch.
CALLS_PER_BATCH = 3

T = TypeVar("T")


class Budget:
    """The time of one function for one batch: `timeout_s` for a call, three times that for all of them."""

    def __init__(self, feature: str, timeout_s: float) -> None:
        self.timeout_s, self.total_s = timeout_s, CALLS_PER_BATCH * timeout_s
        self._feature, self._start = feature, WATCHDOG.clock

    @property
    def left_s(self) -> float:
        """Return what is left of the total; no more than 0 when it is used up."""
        return self._start + self.total_s - WATCHDOG.clock

    def run(self, calls: Callable[[], T], progress: Callable[[], int], limit_s: float) -> T:
        """Return what `calls` returns; raise TooLate if a call takes longer than `limit_s`, or all than what is left."""
        left_s = self.left_s
        return WATCHDOG.run(Stretch(self._feature, progress, min(limit_s, left_s), left_s, self.timeout_s), calls)
