"""What is read from a file is what Python's own modules and Arrow read from it, piece by piece or at once."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import IngestConfig
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.files.layout import Kind
from cluster.ingest.files.text_values import from_text
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Wide

SOURCE = FileSource(
    "s",
    Wide(
        join_key="id",
        event_timestamp="at",
        fields=(
            Field("number", optional=True),
            Field("count", DType.INT64, optional=True),
            Field("flag", DType.BOOL, optional=True),
            Field("text", DType.STRING, optional=True),
        ),
    ),
)
CATALOG = build("p", [FeatureView("v", Entity("e", "id"), SOURCE, [Field("number")])])
NOW_US = 1_800_000_000_000_000
NAMES = ["id", "at", "number", "count", "flag", "text"]

law = settings(max_examples=60, deadline=None)
row = st.fixed_dictionaries(
    {
        "id": st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8),
        "at": st.integers(0, NOW_US),
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "text": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    }
)
rows_of_a_file = st.lists(row, max_size=15)
piece_sizes = st.integers(1, 400)


def read(content: bytes, format_: Format, piece_bytes: int) -> list[dict[str, Any]]:
    """Return the valid rows as dictionaries, after checking that their positions are 0, 1, 2, ..."""
    decode = compile_file_decoder(SOURCE, CATALOG, IngestConfig(), format_)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_bytes(content)
        decoded = [decode(p, 0, NOW_US) for p in split(file, format_, SplitOptions(layout_of(SOURCE), piece_bytes, 100_000))]
    assert [r for d in decoded for r in d.rejected] == []
    events = [d.events for d in decoded]
    assert [p for e in events for p in e.position.to_pylist()] == list(range(sum(map(len, events))))
    tables = [
        pa.table({"id": e.entity_id, "at": e.event_timestamp.cast(pa.int64()), **{n: e.columns[n] for n in NAMES[2:]}})
        for e in events
    ]
    return [r for t in tables for r in t.to_pylist()]


def to_csv(rows: list[dict[str, Any]], line_end: str) -> bytes:
    """Write with every text quoted, so that empty text and null differ."""

    def cell(value: Any) -> str:
        if value is None:
            return ""
        text = repr(value) if isinstance(value, float) else str(value)
        return '"' + text.replace('"', '""') + '"' if isinstance(value, str) else text

    lines = [",".join(cell(r[name]) for name in NAMES) for r in rows]
    return "".join(line + line_end for line in [",".join(NAMES), *lines]).encode()


@law
@given(rows_of_a_file, st.sampled_from(["\n", "\r\n"]), piece_sizes)
def test_csv_values_come_back_as_python_reads_them(rows: list[dict[str, Any]], line_end: str, piece_bytes: int) -> None:
    content = to_csv(rows, line_end)
    by_python = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [r["text"] for r in by_python] == [r["text"] or "" for r in rows]
    assert read(content, Format.CSV, piece_bytes) == rows


@law
@given(rows_of_a_file, piece_sizes)
def test_json_lines_values_come_back(rows: list[dict[str, Any]], piece_bytes: int) -> None:
    content = b"\n".join([b"", *(json.dumps(r).encode() for r in rows), b""])  # a blank line: no bytes are no file
    assert read(content, Format.JSONL, piece_bytes) == rows


@law
@given(rows_of_a_file, piece_sizes, st.integers(1, 20))
def test_parquet_values_come_back_as_arrow_reads_them(rows: list[dict[str, Any]], piece_bytes: int, group: int) -> None:
    types = [pa.string(), pa.int64(), pa.float64(), pa.int64(), pa.bool_(), pa.string()]
    table = pa.Table.from_pylist(rows, pa.schema(list(zip(NAMES, types, strict=True))))
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    assert read(sink.getvalue(), Format.PARQUET, piece_bytes) == table.to_pylist() == rows


numeric_texts = st.text("0123456789+-.eExXinfaINF _", max_size=7) | st.floats().map(str) | st.integers().map(str)


@settings(max_examples=300, deadline=None)
@given(numeric_texts, st.sampled_from([Kind.NUMBER, Kind.INTEGER, Kind.BOOLEAN]))
def test_what_a_text_means_does_not_depend_on_its_neighbours(text: str, kind: Kind) -> None:
    alone, _ = from_text(pa.array([text]), kind, "us")
    beside, wrong = from_text(pa.array(["never a value", text, None]), kind, "us")
    assert wrong is not None
    assert bool(wrong[0])
    expected, found = alone[0].as_py(), beside[1].as_py()
    both_nan = isinstance(expected, float) and isinstance(found, float) and math.isnan(expected) and math.isnan(found)
    assert both_nan or expected == found
    assert bool(wrong[1]) == (found is None)


@settings(max_examples=300, deadline=None)
@given(numeric_texts)
def test_numbers_are_what_python_takes_for_numbers(text: str) -> None:
    column, _ = from_text(pa.array([text]), Kind.NUMBER, "us")
    found = column[0].as_py()
    if found is not None:
        assert math.isnan(found) or found == float(text)
    elif "_" not in text and text == text.strip():  # Python reads 1_000, and trims
        try:
            float(text)
        except ValueError:
            return
        raise AssertionError(text)
