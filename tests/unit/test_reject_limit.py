"""When a partition has rejected too much: a run, a share of a window, and what does not count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cluster.ingest.batch import rejects_table
from cluster.ingest.reject_limit import RejectCount, RejectLimit, TooMany
from cluster.records import Reason, Rejected

LIMIT = RejectLimit(share=0.5, window=10, run=4)


def feed(count: RejectCount, outcomes: str, first: int = 0, reason: Reason = Reason.MALFORMED_JSON) -> TooMany | None:
    """Count a batch written as text: `.` is an event, `x` a reject."""
    rejected = [Rejected(first + n, reason, "", b"") for n, outcome in enumerate(outcomes) if outcome == "x"]
    return count.take(np.arange(first, first + len(outcomes)), rejects_table(rejected))


@pytest.mark.parametrize("outcomes", ["....", "xxxx", ".xxxx.", "xxxx.xxxx", "x.x.x.x.x"])
def test_up_to_the_limit_nothing_happens(outcomes: str) -> None:
    assert feed(RejectCount(LIMIT), outcomes) is None


def test_one_more_in_a_row_is_too_many() -> None:
    found = feed(RejectCount(LIMIT), "..xxxxx", 100, Reason.BAD_TIME)
    assert found == TooMany("5 records in a row were rejected (ingest.max_reject_run: 4)", "bad_time", 102)


def test_a_run_goes_on_from_batch_to_batch() -> None:
    count = RejectCount(LIMIT)
    assert feed(count, "..xx") is None
    assert feed(count, "xx", 4) is None
    assert feed(count, "x..", 6) is not None


def test_an_event_ends_a_run() -> None:
    count = RejectCount(LIMIT)
    assert [feed(count, outcomes) for outcomes in ("xxxx", ".", "xxxx")] == [None] * 3


def test_the_share_counts_once_the_window_is_full() -> None:
    count = RejectCount(RejectLimit(0.5, 10, 0))
    assert feed(count, "xxx.xxx.x") is None
    found = feed(count, ".")
    assert found is None, "a window without rejects in this batch is not looked at: nothing got worse"
    found = feed(count, "xx")
    assert found is not None
    assert found.exceeded == "7 of 10 records were rejected (ingest.max_reject_share: 0.5)"


def test_limits_can_be_switched_off() -> None:
    assert feed(RejectCount(RejectLimit(1.0, 10, 0)), "x" * 1000) is None


def test_what_somebody_allowed_does_not_count() -> None:
    count = RejectCount(LIMIT, allowed=6)
    assert feed(count, "xxxxxx") is None
    assert feed(count, "xxxx") is None
    assert feed(count, "x") is not None


def test_the_most_frequent_reason_is_named() -> None:
    reasons: Sequence[Reason] = [Reason.BAD_TIME, *[Reason.WRONG_TYPE] * 4]
    rejected = rejects_table([Rejected(n, reason, "", b"") for n, reason in enumerate(reasons)])
    found = RejectCount(LIMIT).take(np.arange(5), rejected)
    assert found is not None
    assert (found.reason, found.position) == ("wrong_type", 1)


def test_positions_may_have_gaps() -> None:
    rejected = rejects_table([Rejected(p, Reason.BAD_TIME, "", b"") for p in (10, 20, 30, 40, 50)])
    assert RejectCount(LIMIT).take(np.array([5, 10, 20, 30, 40, 50]), rejected) is not None
