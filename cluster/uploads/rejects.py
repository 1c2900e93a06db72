"""How many rows of a file may be rejected before the file as a whole is."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

from cluster.errors import BadFile
from cluster.uploads.messages import RejectedRow
from cluster.uploads.pieces import PieceCounts

#: Rows that an error names.
NAMED = 5


@dataclass(frozen=True, slots=True)
class RejectLimits:
    """What the header asked for; None stands for no limit."""

    count: int | None = None
    share: float | None = None

    def check_so_far(self, tally: Tally) -> None:
        """Raise BadFile when too many rows were rejected already, whatever comes."""
        if self.count is not None and tally.rejected > self.count:
            raise BadFile(f"max_rejects: {tally.rejected} rows were rejected so far, more than {self.count}: {_end(tally)}")

    def check_all(self, tally: Tally) -> None:
        """Raise BadFile when too large a share of the whole file was rejected."""
        total = tally.events + tally.rejected
        if self.share is not None and tally.rejected > self.share * total:
            raise BadFile(
                f"max_reject_share: {tally.rejected} of {total} rows were rejected, a larger share than {self.share:g}: "
                f"{_end(tally)}"
            )


class Tally:
    """What became of a file's rows so far. `examples` are the rejected rows with the lowest numbers, at most `kept`."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self.events = self.rejected = 0
        self.reasons: Counter[str] = Counter()
        self.examples: tuple[RejectedRow, ...] = ()

    def add(self, counts: PieceCounts) -> None:
        """Count a piece; pieces come in any order."""
        self.events += counts.events
        self.rejected += counts.rejected
        self.reasons.update(counts.reasons)
        self.examples = tuple(heapq.nsmallest(self._kept, (*self.examples, *counts.examples)))


def _end(tally: Tally) -> str:
    rows = ", ".join(f"row {r.row} {r.reason} ({r.detail})" for r in tally.examples[:NAMED])
    return f"{rows}. Nothing was stored: correct the file, or allow more"
