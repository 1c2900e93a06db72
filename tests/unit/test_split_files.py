from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.errors import BadFile
from cluster.ingest.files.piece import MAX_PIECE_ROWS
from cluster.ingest.split import Format, Piece, SplitOptions, layout_of, split
from cluster.records import Reason
from cluster.registry.definitions import DType, Field, FileSource, Long, Wide

LONG = FileSource("features", Long())
WIDE = FileSource(
    "orders",
    Wide(join_key="user_id", event_timestamp="timestamp", fields=(Field("amount"), Field("note", DType.STRING, optional=True))),
)
HEADER = b"entity_id,feature_name,value,event_timestamp\n"
GOOD = b"u1,age,1,2024-05-01\n"


def options(source: FileSource = LONG, *, piece_bytes: int = 1 << 20, max_record_bytes: int = 1 << 20) -> SplitOptions:
    return SplitOptions(layout_of(source), piece_bytes, max_record_bytes)


def pieces_of(tmp_path: Path, content: bytes, format_: Format = Format.CSV, **bounds: int) -> list[Piece]:
    file = tmp_path / "file"
    file.write_bytes(content)
    return list(split(file, format_, options(LONG, **bounds)))


def bad_file(tmp_path: Path, content: bytes, format_: Format, source: FileSource = LONG) -> str:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(BadFile) as caught:
        list(split(file, format_, options(source)))
    return str(caught.value)


def parquet(tmp_path: Path, table: pa.Table) -> bytes:
    file = tmp_path / "table.parquet"
    pq.write_table(table, file)
    return file.read_bytes()


@pytest.mark.parametrize("format_", list(Format))
def test_an_empty_file_is_refused_and_says_so(tmp_path: Path, format_: Format) -> None:
    assert "empty (0 bytes)" in bad_file(tmp_path, b"", format_)


def test_a_file_with_nothing_but_a_header_has_no_pieces(tmp_path: Path) -> None:
    assert pieces_of(tmp_path, HEADER) == []
    assert pieces_of(tmp_path, HEADER.rstrip()) == []
    assert pieces_of(tmp_path, b"\n \n", Format.JSONL) == []


def test_a_parquet_file_without_rows_has_no_pieces(tmp_path: Path) -> None:
    table = pa.table({"entity_id": ["a"], "feature_name": ["f"], "value": [1.0], "event_timestamp": [1]})
    assert pieces_of(tmp_path, parquet(tmp_path, table.slice(0, 0)), Format.PARQUET) == []


def test_missing_columns_are_named_with_what_was_found_and_what_is_near(tmp_path: Path) -> None:
    text = bad_file(tmp_path, b"entity_id,feature_nam,value\n" + GOOD, Format.CSV)
    assert "no column 'feature_name', 'event_timestamp'" in text
    assert "'entity_id', 'feature_nam', 'value'" in text
    assert "'feature_nam' looks like 'feature_name'" in text


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"user_id,amount,timestamp\nu,1,2024-05-01\n")
    assert [p.rows for p in split(file, Format.CSV, options(WIDE))] == [1]


def test_doubled_columns_are_refused_but_unnamed_ones_are_not(tmp_path: Path) -> None:
    assert "more than one column 'value'" in bad_file(tmp_path, HEADER.rstrip() + b",value\n", Format.CSV)
    assert [p.rows for p in pieces_of(tmp_path, b",," + HEADER + b"0,0," + GOOD)] == [1]


def test_a_strict_source_refuses_columns_that_it_does_not_know(tmp_path: Path) -> None:
    strict = FileSource("features", Long(strict=True))
    assert "does not know the column 'extra'" in bad_file(tmp_path, HEADER.rstrip() + b",extra\n", Format.CSV, strict)


@pytest.mark.parametrize(
    ("content", "format_", "text"),
    [
        (b"PAR1 and more", Format.CSV, "is Parquet but was sent as csv"),
        (b"PAR1 and more", Format.JSONL, "is Parquet but was sent as jsonl"),
        (HEADER + GOOD, Format.PARQUET, "is not Parquet but perhaps CSV"),
        (b"\x1f\x8b\x08", Format.CSV, "send it with compression gzip"),
        (b"PK\x03\x04...", Format.CSV, "spreadsheet"),
        ("entity_id\n".encode("utf-16"), Format.CSV, "UTF-16"),
        (b'{"entity_id": 1}\n', Format.CSV, "looks like JSON Lines"),
        (b"PAR1PAR1", Format.PARQUET, "cut off"),
        (b"PAR1" + b"\0" * 20 + b"PAR1", Format.PARQUET, "cannot be read"),
        (b'"entity_id,value\n', Format.CSV, "misplaced quotes"),
        (b"entity_id,va\0lue\n", Format.CSV, "NUL"),
        (b"entity_id,va\xfflue\n", Format.CSV, "not UTF-8"),
        (b"\n\n", Format.CSV, "header"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, content: bytes, format_: Format, text: str) -> None:
    assert text in bad_file(tmp_path, content, format_)


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path, pa.table({"entity_id": ["a"] * 1000}))
    assert "cut off" in bad_file(tmp_path, whole[:-100], Format.PARQUET)


def test_a_damaged_parquet_page_is_a_bad_file_not_a_crash(tmp_path: Path) -> None:
    ids = [f"user_{i}" for i in range(5000)]
    table = pa.table({"entity_id": ids, "feature_name": ids, "value": [1.0] * 5000, "event_timestamp": ids})
    whole = bytearray(parquet(tmp_path, table))
    whole[100:3000] = bytes(2900)
    assert "cannot be read" in bad_file(tmp_path, bytes(whole), Format.PARQUET)


def test_parquet_columns_of_the_wrong_type_are_named_with_both_types(tmp_path: Path) -> None:
    table = pa.table({"entity_id": ["a"], "feature_name": ["f"], "value": ["1.0"], "event_timestamp": [1]})
    text = bad_file(tmp_path, parquet(tmp_path, table), Format.PARQUET)
    assert "column 'value' has the type string, wanted is a number" in text


def test_a_byte_order_mark_and_every_line_end_are_fine(tmp_path: Path) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        content = b"\xef\xbb\xbf" + (HEADER + GOOD * 3).replace(b"\n", end)
        (piece,) = pieces_of(tmp_path, content)
        assert (piece.columns[0], piece.rows, piece.faults) == ("entity_id", 3, ())


def test_blank_lines_have_no_row_number(tmp_path: Path) -> None:
    (piece,) = pieces_of(tmp_path, HEADER + b"\n\n" + GOOD + b"\r\n" + GOOD)
    assert piece.positions().tolist() == [0, 1]
    (piece,) = pieces_of(tmp_path, b"{}\n \t\r\n\n{}", Format.JSONL)
    assert piece.positions().tolist() == [0, 1]


def test_an_unterminated_quote_costs_its_own_row_and_no_other(tmp_path: Path) -> None:
    rows = [GOOD, b'u2,"age,1,2024-05-01\n', GOOD, b'u3,"a\nge",1,2024-05-01\n', GOOD]
    (piece,) = pieces_of(tmp_path, HEADER + b"".join(rows))
    assert piece.rows == 5
    assert [(f.position, f.reason, f.payload) for f in piece.faults] == [(1, Reason.MALFORMED_ROW, rows[1].rstrip())]
    assert piece.payload == b"".join(rows[:1] + rows[2:])


def test_a_quote_left_open_at_the_end_costs_its_own_row(tmp_path: Path) -> None:
    (piece,) = pieces_of(tmp_path, HEADER + GOOD + b'u2,"age,1\n' + GOOD * 2)
    assert [f.position for f in piece.faults] == [1]
    assert piece.payload == GOOD * 3


def test_quoted_line_ends_stay_inside_their_record(tmp_path: Path) -> None:
    record = b'u1,"a\r\nb\n""c"",\n",1,2024-05-01\n'
    (piece,) = pieces_of(tmp_path, HEADER + record * 2)
    assert (piece.rows, piece.payload, piece.faults) == (2, record * 2, ())


@pytest.mark.parametrize("format_", [Format.CSV, Format.JSONL])
@pytest.mark.parametrize("piece_bytes", [10, 300, 100_000])
def test_a_record_that_is_too_long_is_rejected_alone_in_bounded_memory(
    tmp_path: Path, format_: Format, piece_bytes: int
) -> None:
    long_line = b"x" * 5000 + b"\n"
    content = HEADER * (format_ is Format.CSV) + GOOD + long_line + GOOD + long_line
    pieces = pieces_of(tmp_path, content, format_, piece_bytes=piece_bytes, max_record_bytes=1000)
    faults = [fault for piece in pieces for fault in piece.faults]
    assert [(f.position, f.reason, len(f.payload or b"")) for f in faults] == [
        (1, Reason.TOO_LARGE, 1024),
        (3, Reason.TOO_LARGE, 1024),
    ]
    assert b"".join(p.payload for p in pieces) == GOOD * 2
    assert max(len(p.payload) for p in pieces) <= piece_bytes + 2000


def test_pieces_are_numbered_without_gaps_and_travel(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path, HEADER + GOOD * 100, piece_bytes=200)
    assert [p.number for p in pieces] == list(range(len(pieces)))
    assert [p.first_row for p in pieces] == [sum(p.rows for p in pieces[:i]) for i in range(len(pieces))]
    assert pickle.loads(pickle.dumps(pieces)) == pieces  # noqa: S301 - our own


def test_tiny_rows_do_not_make_a_piece_of_millions(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path, b"1\n" * (MAX_PIECE_ROWS + 1), Format.JSONL, piece_bytes=1 << 23)
    assert [p.rows for p in pieces] == [MAX_PIECE_ROWS, 1]


def test_parquet_pieces_are_bounded_even_when_a_dictionary_hides_the_size(tmp_path: Path) -> None:
    table = pa.table(
        {"entity_id": ["e" * 10_000] * 2000, "feature_name": ["f"] * 2000, "value": [1.0] * 2000, "event_timestamp": [1] * 2000}
    )
    pieces = pieces_of(tmp_path, parquet(tmp_path, table), Format.PARQUET, piece_bytes=100_000)
    assert sum(p.rows for p in pieces) == 2000
    assert max(len(p.payload) for p in pieces) < 300_000


def test_nothing_is_read_before_the_first_piece_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(HEADER + GOOD * 10)
    pieces = split(file, Format.CSV, options(piece_bytes=30))
    first = next(pieces)
    assert (first.number, first.first_row) == (0, 0)
    assert sum(p.rows for p in pieces) + first.rows == 10
