"""Splitting loses nothing, invents nothing, and does not depend on where blocks end."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ingest.files.csv_records import Dialect, scan
from cluster.ingest.split import Format, Piece, SplitOptions, layout_of, split
from cluster.registry.definitions import DType, Field, FileSource, Wide

SOURCE = FileSource("s", Wide(join_key="a", event_timestamp="b", fields=(Field("c", DType.STRING, optional=True),)))
HEADER = b"a,b,c\n"

law = settings(max_examples=100, deadline=None)
piece_sizes = st.integers(1, 60)
cells = st.text(alphabet='ab",\n\r é', max_size=6)
tables = st.lists(st.tuples(cells, cells, cells), max_size=12)
wild = st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"x", b"1,2,3\n", b'1,"2\n2",3\n', b'1,"2,3\n']), max_size=30).map(
    b"".join
)


def pieces_of(content: bytes, format_: Format, piece_bytes: int, max_record_bytes: int = 1000) -> list[Piece]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_bytes(content)
        return list(split(file, format_, SplitOptions(layout_of(SOURCE), piece_bytes, max_record_bytes)))


def outcome(pieces: list[Piece]) -> tuple[bytes, list[tuple[int, bytes | None]], list[int]]:
    faults = [(f.position, f.payload) for p in pieces for f in p.faults]
    positions = [n for p in pieces for n in p.positions().tolist()]
    return b"".join(p.payload for p in pieces), faults, positions


def valid_csv(rows: list[tuple[str, str, str]], line_end: str, *, always_quoted: bool) -> bytes:
    def cell(text: str) -> str:
        plain = not always_quoted and not set(text) & set('",\r\n')
        return text if plain else '"' + text.replace('"', '""') + '"'

    return HEADER + "".join(",".join(map(cell, row)) + line_end for row in rows).encode()


def records_of(pieces: list[Piece]) -> list[bytes]:
    """Find the records of each payload again, as a reader does to look up rejected rows."""
    scans = [(p.payload, scan(p.payload, Dialect(",", 3, 10**9), last=True)) for p in pieces]
    assert not any(found.malformed.any() for _, found in scans)
    return [found.records.text(payload, i) for payload, found in scans for i in range(len(found.records))]


@law
@given(tables, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), piece_sizes)
def test_valid_csv_splits_into_the_records_that_python_reads(
    rows: list[tuple[str, str, str]],
    line_end: str,
    always_quoted: bool,  # noqa: FBT001 - drawn by hypothesis
    piece_bytes: int,
) -> None:
    content = valid_csv(rows, line_end, always_quoted=always_quoted)
    pieces = pieces_of(content, Format.CSV, piece_bytes)
    assert not [f for p in pieces for f in p.faults]
    for piece in pieces:
        read = list(csv.reader(io.StringIO(piece.payload.decode(), newline=""), strict=True))
        assert [tuple(r) for r in read if r] == rows[piece.first_row : piece.first_row + piece.rows]
    assert sum(p.rows for p in pieces) == len(rows)


@law
@given(wild, piece_sizes, st.sampled_from([8, 40, 1000]))
def test_where_blocks_end_never_changes_the_outcome_of_any_csv(content: bytes, piece_bytes: int, longest: int) -> None:
    whole = pieces_of(HEADER + content, Format.CSV, 1_000_000, longest)
    parts = pieces_of(HEADER + content, Format.CSV, piece_bytes, longest)
    assert outcome(parts)[1:] == outcome(whole)[1:]
    assert records_of(parts) == records_of(whole)
    assert len(records_of(parts)) == len(outcome(parts)[2])


@law
@given(wild, piece_sizes)
def test_every_byte_of_any_csv_is_a_row_a_fault_or_a_line_end(content: bytes, piece_bytes: int) -> None:
    payload, faults, positions = outcome(pieces_of(HEADER + content, Format.CSV, piece_bytes))
    seen = payload + b"".join(text or b"" for _, text in faults)
    assert sorted(seen.translate(None, b"\r\n")) == sorted(content.translate(None, b"\r\n"))
    assert sorted([*positions, *(p for p, _ in faults)]) == list(range(len(positions) + len(faults)))


@law
@given(st.lists(st.sampled_from(["good", "open", "multi"]), max_size=20), piece_sizes)
def test_an_open_quote_never_costs_a_good_row(kinds: list[str], piece_bytes: int) -> None:
    lines = {"good": b"%d,2,3\n", "open": b'%d,"2,3\n', "multi": b'%d,"2\n,""2\n",3\n'}
    records = [lines[kind] % index for index, kind in enumerate(kinds)]
    payload, faults, _ = outcome(pieces_of(HEADER + b"".join(records), Format.CSV, piece_bytes))
    assert payload == b"".join(r for r, kind in zip(records, kinds, strict=True) if kind != "open")
    assert [text for _, text in faults] == [r.rstrip() for r, kind in zip(records, kinds, strict=True) if kind == "open"]


@law
@given(st.lists(st.sampled_from([b"{}", b'{"a": "\\n"}', b"", b" \t", b"not json", b"\r", b"{}\r"]), max_size=20), piece_sizes)
def test_json_lines_join_to_the_file(lines: list[bytes], piece_bytes: int) -> None:
    pieces = pieces_of(b"\n".join([*lines, b"{}"]), Format.JSONL, piece_bytes)
    read = [line.rstrip(b"\r") for p in pieces for line in p.payload.split(b"\n") if line.strip()]
    assert read == [line.rstrip(b"\r") for line in [*lines, b"{}"] if line.strip()]
    assert sum(p.rows for p in pieces) == len(read)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=5), st.integers(0, 9), st.none() | st.text(max_size=50)), max_size=40),
    piece_sizes,
    st.integers(1, 20),
)
def test_parquet_pieces_join_to_the_table(rows: list[tuple[str, int, str | None]], piece_bytes: int, group: int) -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.string())])
    table = pa.Table.from_pylist([dict(zip("abc", row, strict=True)) for row in rows], schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    pieces = pieces_of(sink.getvalue(), Format.PARQUET, piece_bytes)
    read = [pa.ipc.open_stream(p.payload).read_all() for p in pieces]
    assert [row for t in read for row in t.to_pylist()] == table.to_pylist()
    assert [p.first_row for p in pieces] == [sum(len(t) for t in read[:i]) for i in range(len(read))]
