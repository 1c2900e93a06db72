"""What a window is: edges, names, usual hops, and what it may not be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cluster.errors import Misconfigured
from cluster.windows.window import MAX_HOPS, Window, spoken, usual_hop

HOUR = timedelta(hours=1)
DAYS_7 = Window.of(timedelta(days=7), HOUR)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def test_the_edge_of_the_page() -> None:
    at = us("2026-05-08T12:34:00")
    edge = us("2026-05-01T12:00:00")
    assert DAYS_7.edge(at) == edge
    held = [DAYS_7.holds(event, at) for event in (edge, edge + 1, at, at + 1)]
    assert held == [False, True, True, False]


def test_the_edge_moves_in_hops_and_with_time_alone() -> None:
    at = us("2026-05-08T12:59:59")
    hours = [(DAYS_7.edge(at + seconds * 1_000_000) - DAYS_7.edge(at)) / DAYS_7.hop_us for seconds in (0, 1, 3_600, 3_601)]
    assert hours == [0, 1, 1, 2]


@pytest.mark.parametrize("at", [0, 1, 3_599_999_999, 3_600_000_000])
def test_before_1970_edges_are_floored_too(at: int) -> None:
    assert DAYS_7.edge(at) % DAYS_7.hop_us == 0
    assert 0 <= at - DAYS_7.length_us - DAYS_7.edge(at) < DAYS_7.hop_us


@pytest.mark.parametrize(
    ("length", "hop", "name"),
    [
        (timedelta(seconds=90), timedelta(seconds=1), "90s"),
        (timedelta(minutes=5), timedelta(seconds=1), "5m"),
        (timedelta(minutes=10), timedelta(minutes=1), "10m"),
        (timedelta(hours=1), timedelta(minutes=1), "1h"),
        (timedelta(hours=36), timedelta(hours=1), "36h"),
        (timedelta(days=1), timedelta(minutes=5), "1d"),
        (timedelta(days=7), HOUR, "7d"),
        (timedelta(days=30), timedelta(days=1), "30d"),
        (timedelta(days=365), timedelta(days=1), "365d"),
    ],
)
def test_usual_hops_and_names(length: timedelta, hop: timedelta, name: str) -> None:
    assert (usual_hop(length), spoken(length)) == (hop, name)


def test_as_many_hops_as_are_allowed() -> None:
    assert Window.of(MAX_HOPS * HOUR, HOUR).length_us == MAX_HOPS * DAYS_7.hop_us
    with pytest.raises(Misconfigured, match=r"^window 1501h has 1,501 hops of 1h, and 1,500 are the most: give a longer hop"):
        Window.of((MAX_HOPS + 1) * HOUR, HOUR)


@pytest.mark.parametrize(
    ("length", "hop", "said"),
    [
        (timedelta(0), HOUR, "window is datetime.timedelta(0): give a timedelta of whole seconds, of at least one"),
        (7, HOUR, "window is 7: give a timedelta"),
        (timedelta(days=7), timedelta(seconds=1.5), "hop is datetime.timedelta(seconds=1, microseconds=500000): give"),
        (timedelta(days=7), -HOUR, "hop is datetime.timedelta(days=-1, seconds=82800): give"),
        (timedelta(days=7), timedelta(hours=5), "window 7d is not a multiple of hop 5h: the window would change its length"),
        (timedelta(hours=1), timedelta(hours=2), "window 1h is not a multiple of hop 2h"),
    ],
)
def test_what_makes_no_window(length: timedelta, hop: timedelta, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Window.of(length, hop)
    assert str(caught.value).startswith(said)
