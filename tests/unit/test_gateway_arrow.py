"""Tables as chunks of bytes and back, and bytes from strangers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import OverLimit, Refused, RetryLater
from cluster.gateway.arrow import BATCH_ROWS, CHUNK_BYTES, from_chunks, to_chunks

TABLE = pa.table({"id": ["a", None, "ccc"], "n": [1, 2, None]})


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.none() | st.text(max_size=5), st.none() | st.floats(allow_nan=False)), max_size=30),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_any_table_survives_any_cutting_of_its_bytes(rows: list[tuple[str | None, float | None]], cuts: list[int]) -> None:
    table = pa.table(
        {"text": pa.array([r[0] for r in rows], pa.string()), "value": pa.array([r[1] for r in rows], pa.float64())}
    )
    data = b"".join(to_chunks(table))

    def cut() -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = cuts[at % len(cuts)]
            yield data[at : at + size]
            yield b""
            at += size

    assert from_chunks(cut()).equals(table)


def test_chunks_are_small_and_a_large_table_comes_back() -> None:
    table = pa.table({"x": np.random.default_rng(1).random(3 * BATCH_ROWS + 1)})
    chunks = list(to_chunks(table))
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert from_chunks(chunks).equals(table)


def test_the_first_chunks_come_before_the_table_was_written_whole() -> None:
    table = pa.table({"x": np.zeros(100 * BATCH_ROWS)})
    first = next(to_chunks(table))
    assert len(first) == CHUNK_BYTES


def test_reading_stops_at_the_first_batch_beyond_the_limit() -> None:
    taken = []

    def chunks() -> Iterator[bytes]:
        for chunk in to_chunks(pa.table({"x": np.zeros(20 * BATCH_ROWS)})):
            taken.append(len(chunk))
            yield chunk

    with pytest.raises(OverLimit, match="more than 40,000 rows"):
        from_chunks(chunks(), max_rows=40_000)
    assert sum(taken) < 3 * BATCH_ROWS * 8
    assert from_chunks(to_chunks(TABLE), max_rows=3).num_rows == 3


@pytest.mark.parametrize("data", [b"", b"\x00", b"a,b\n1,2\n", b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 4, b"PAR1" * 10])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="not an Arrow IPC stream"):
        from_chunks([data])


def test_every_cut_and_every_flipped_byte_ends_in_a_table_or_a_refusal() -> None:
    data = b"".join(to_chunks(TABLE))
    for at in range(len(data)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            try:
                table = from_chunks([damaged], max_rows=1000)
            except Refused:
                continue
            assert len(str(table.to_pydict())) < 10_000


def test_a_batch_whose_offsets_point_elsewhere_is_refused() -> None:
    offsets = pa.py_buffer(np.array([0, 2_000_000_000, 3], np.int32))
    forged = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    with pytest.raises(Refused, match="not an Arrow IPC stream"):
        from_chunks(to_chunks(pa.table({"x": forged})))


def test_the_senders_own_error_comes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield next(to_chunks(TABLE))[:100]
        raise RetryLater("the client went away")

    with pytest.raises(RetryLater, match="went away"):
        from_chunks(broken())
