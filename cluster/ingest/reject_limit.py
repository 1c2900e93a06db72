"""How many rejects a partition takes before it stops, so that a bad deploy does not fill the quarantine with a topic. Pure.

The policy is frozen and the count is beside it, as in getsentry/arroyo's dead-letter limits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RejectLimit:
    """More than `run` rejects in a row, or more than `share` of the last `window` records, are too many.

    A share of 1 and a run of 0 are never exceeded. The share counts once `window` records were seen.
    """

    share: float
    window: int
    run: int


@dataclass(frozen=True, slots=True)
class TooMany:
    """Why a partition must stop: what was exceeded, and the most frequent reason with the first position that had it."""

    exceeded: str
    reason: str
    position: int


class RejectCount:
    """Counts the records of one partition in the order of their positions. One thread.

    The first `allowed` rejects do not count at all: somebody has looked at them.
    """

    def __init__(self, limit: RejectLimit, allowed: int = 0) -> None:
        self._limit, self._allowed = limit, allowed
        self._run = 0
        self._last = np.zeros(0, np.bool_)  # of the last `window` records, whether each was rejected

    def take(self, positions: NDArray[np.int64], rejects: pa.Table) -> TooMany | None:
        """Count a batch: its positions, and those of them that were rejected (REJECTS_SCHEMA); say if it is too much."""
        bad = np.zeros(len(positions), np.bool_)
        if rejects.num_rows:
            bad[np.searchsorted(positions, self._counted(rejects["position"].to_numpy()))] = True
        longest, self._run = longest_run(bad, self._run)
        seen = np.concatenate([self._last, bad])
        self._last = seen[-self._limit.window :]
        exceeded = self._exceeded(longest, seen) if bad.any() else ""
        return TooMany(exceeded, *_most_frequent(rejects)) if exceeded else None

    def _counted(self, rejected: NDArray[np.int64]) -> NDArray[np.int64]:
        passed = min(self._allowed, len(rejected))
        self._allowed -= passed
        return rejected[passed:]

    def _exceeded(self, longest: int, seen: NDArray[np.bool_]) -> str:
        limit = self._limit
        if 0 < limit.run < longest:
            return f"{longest:,} records in a row were rejected (ingest.max_reject_run: {limit.run:,})"
        worst = most_in_window(seen, limit.window)
        if worst > limit.share * limit.window:
            return f"{worst:,} of {limit.window:,} records were rejected (ingest.max_reject_share: {limit.share:g})"
        return ""


def longest_run(bad: NDArray[np.bool_], before: int) -> tuple[int, int]:
    """Return the longest run of rejects, the first continuing one of `before`, and the run that the batch ends with."""
    good = np.flatnonzero(~bad)
    if not len(good):
        return before + len(bad), before + len(bad)
    gaps = np.diff(np.concatenate([[-1], good, [len(bad)]])) - 1
    gaps[0] += before
    return int(gaps.max()), int(gaps[-1])


def most_in_window(bad: NDArray[np.bool_], window: int) -> int:
    """Return the most rejects in any `window` records that follow one another; 0 while there are fewer."""
    if len(bad) < window:
        return 0
    total = np.concatenate([[0], np.cumsum(bad)])
    return int((total[window:] - total[:-window]).max())


def _most_frequent(rejects: pa.Table) -> tuple[str, int]:
    reasons = rejects["reason"].to_pylist()
    [(reason, _)] = Counter(reasons).most_common(1)
    return reason, rejects["position"][reasons.index(reason)].as_py()
