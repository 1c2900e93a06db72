"""Whichever of the three ways a time takes, and whatever its neighbours are, it means the same."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ingest.times import MAX_MICROS, text_micros, text_of, to_micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

two_digits = st.integers(0, 61).map("{:02d}".format)
odd_years = st.sampled_from([0, 1, 1600, 1904, 2000, 2024, 2100, 2264, 9999])
years = st.one_of(st.integers(1969, 2263), odd_years).map("{:04d}".format)
zones = st.one_of(
    st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+05:30", "-23:59", "+0200", "+02", "+24:00", "+1", " Z"]),
    st.builds("{}{}:{}".format, st.sampled_from("+-"), two_digits, two_digits),
)
fractions = st.one_of(st.just(""), st.text("0123456789", min_size=0, max_size=10).map(".{}".format))
days = st.one_of(st.builds("{}-{}".format, two_digits, two_digits), st.sampled_from(["02-29", "02-28", "12-31", "01-01"]))
clocks = st.builds("{}:{}:{}".format, two_digits, two_digits, two_digits)
date_like = st.one_of(
    st.builds("{}-{}{}{}{}{}".format, years, days, st.sampled_from("TTT t_"), clocks, fractions, zones),
    st.builds("{}-{}{}{}".format, years, days, st.sampled_from(["", "T10", " 10:11", "T1011"]), zones),
)
texts = st.one_of(date_like, st.text(max_size=12), st.none())


def one_by_one(text: str | None) -> tuple[int, bool]:
    micros = None if text is None else text_micros(text)
    good = micros is not None and 0 <= micros < MAX_MICROS
    return (micros if micros is not None and good else 0), good


def both(column: pa.Array, unit: str = "us") -> list[tuple[int, bool]]:
    micros, good = to_micros(column, unit)
    return list(zip(micros.tolist(), good.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(st.lists(texts, max_size=12))
def test_a_row_means_the_same_whatever_its_neighbours_are(rows: list[str | None]) -> None:
    assert both(pa.array(rows, pa.string())) == [one_by_one(row) for row in rows]


@settings(max_examples=150, deadline=None)
@given(texts)
def test_a_row_means_the_same_alone_as_on_the_slow_path(row: str | None) -> None:
    assert both(pa.array([row], pa.string())) == [one_by_one(row)]


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 3), datetime(2262, 4, 9)),  # noqa: DTZ001 - the zone is drawn beside it
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from("T "),
)
def test_a_time_with_an_offset_is_the_instant_that_the_standard_library_reads(moment: datetime, offset: int, sep: str) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    assert both(pa.array([aware.isoformat(sep)])) == [((aware - EPOCH) // timedelta(microseconds=1), True)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.none()), max_size=8), st.sampled_from(["s", "ms", "us"]))
def test_numbers_are_counted_in_their_unit_and_never_wrap_around(rows: list[int | None], unit: str) -> None:
    factor = {"s": 10**6, "ms": 10**3, "us": 1}[unit]
    expected = [(r * factor, True) if r is not None and 0 <= r * factor < MAX_MICROS else (0, False) for r in rows]
    assert both(pa.array(rows, pa.int64()), unit) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["s", "ms", "us"]))
def test_a_number_as_text_is_the_same_time(number: int, unit: str) -> None:
    assert both(pa.array([text_of(number, unit)])) == both(pa.array([number]), unit)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Rome"])
def test_arrow_timestamps_of_any_unit_are_instants(unit: str, zone: str | None) -> None:
    moments = [EPOCH, datetime(2024, 2, 29, 10, 11, 12, tzinfo=UTC), None]
    instants = [m if m is None or zone else m.replace(tzinfo=None) for m in moments]
    column = pa.array(instants, pa.timestamp(unit, zone))
    assert both(column) == [(0, True), (1_709_201_472_000_000, True), (0, False)]


def test_an_empty_column_is_fine() -> None:
    for kind in (pa.string(), pa.int64(), pa.timestamp("ns")):
        micros, good = to_micros(pa.array([], kind), "us")
        assert micros.dtype == np.int64
        assert good.dtype == np.bool_
        assert len(micros) == len(good) == 0
