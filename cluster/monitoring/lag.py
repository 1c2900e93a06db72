"""How many seconds a partition is behind, from what it says and where Kafka ends. Times are µs."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.ingest.stream import Progress

Key = tuple[str, int]


class Lag:
    """Caller: the supervisor's looks; `seconds` may be asked by any thread."""

    def __init__(self) -> None:
        self._caught_up: dict[Key, int] = {}

    def look(self, progress: Mapping[Key, Progress], ends: Mapping[Key, int], now_us: int) -> None:
        """Note which partitions have nothing left to do."""
        for key, end in ends.items():
            if key in progress and progress[key].committed >= end:
                self._caught_up[key] = now_us

    def seconds(self, key: Key, progress: Progress, end: int | None, now_us: int) -> float | None:
        """Return the age of what is not durable yet, an upper bound; 0 when nothing is, None when nobody knows.

        The last durable record is older than what comes after it, and so is the time when there was nothing after it: a
        first record after a quiet hour is not an hour late.
        """
        if end is not None and progress.committed >= end:
            return 0.0
        known = max(progress.record_time, self._caught_up.get(key, 0))
        return max(0, now_us - known) / 1e6 if known else None
