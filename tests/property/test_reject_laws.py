"""The limit on rejects against a list and a count, however the records are cut into batches."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cluster.ingest.batch import rejects_table
from cluster.ingest.reject_limit import RejectCount, RejectLimit
from cluster.records import Reason, Rejected


def exceeded(outcomes: list[bool], limit: RejectLimit) -> bool:
    """Look at every record that was rejected: the run that it ends, and the window that it ends."""
    for end in range(1, len(outcomes) + 1):
        run = len(list(itertools.takewhile(bool, reversed(outcomes[:end]))))
        window = outcomes[max(0, end - limit.window) : end]
        full = len(window) == limit.window
        if (0 < limit.run < run) or (full and sum(window) > limit.share * limit.window):
            return True
    return False


def take(count: RejectCount, first: int, outcomes: list[bool]) -> bool:
    rejected = [Rejected(first + n, Reason.BAD_TIME, "", None) for n, bad in enumerate(outcomes) if bad]
    return count.take(np.arange(first, first + len(outcomes)), rejects_table(rejected)) is not None


@given(
    outcomes=st.lists(st.booleans(), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    limit=st.builds(RejectLimit, st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]), st.integers(1, 12), st.integers(0, 6)),
)
def test_it_stops_in_the_batch_in_which_a_list_and_a_count_would(
    outcomes: list[bool], cuts: list[int], limit: RejectLimit
) -> None:
    count, bounds = RejectCount(limit), sorted({0, len(outcomes), *(c for c in cuts if c < len(outcomes))})
    for first, after in itertools.pairwise(bounds):
        batch = outcomes[first:after]
        wanted = exceeded(outcomes[:after], limit)
        if any(batch) or not wanted:
            assert take(count, first, batch) == wanted
        if wanted:
            return


@given(outcomes=st.lists(st.booleans(), min_size=1, max_size=60), allowed=st.integers(0, 60))
def test_allowed_rejects_count_like_events(outcomes: list[bool], allowed: int) -> None:
    limit, left, judged = RejectLimit(0.5, 8, 3), allowed, []
    for bad in outcomes:
        judged.append(bad and left <= 0)
        left -= bad
    assert take(RejectCount(limit, allowed), 0, outcomes) == exceeded(judged, limit)
