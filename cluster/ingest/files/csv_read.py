"""A piece of a CSV file into typed columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from cluster.ingest.files.csv_check import broken_records
from cluster.ingest.files.csv_records import Dialect, scan
from cluster.ingest.files.layout import Layout
from cluster.ingest.files.lines import Spans
from cluster.ingest.files.piece import Piece
from cluster.ingest.files.rows import Rows, WrongTypes
from cluster.ingest.files.text_split import without
from cluster.ingest.files.text_values import from_text
from cluster.records import Reason

#: Splitting has bounded the records already.
_NO_BOUND = 2**62


@dataclass(frozen=True, slots=True)
class CsvReader:
    """Reads pieces of CSV files for one source. Null are the empty unquoted field, and the piece's own text for it."""

    layout: Layout
    timestamp_unit: str

    def __call__(self, piece: Piece, /) -> Rows:
        """Return the rows of `piece`."""
        lines = CsvLines(piece)
        broken = broken_records(piece.payload, piece.delimiter, lambda: lines.spans)
        table = self._parse(piece, without(piece.payload, lines.spans, [f[0] for f in broken]) if broken else piece.payload)
        positions = np.delete(lines.positions, [index for index, _, _ in broken]) if broken else lines.positions
        ragged = [(int(positions[index]), Reason.MALFORMED_ROW, detail) for index, detail in table.ragged]
        positions = np.delete(positions, [index for index, _ in table.ragged]) if ragged else positions
        wrong = WrongTypes(positions)
        columns = self._convert(table.columns, wrong)
        faults = [(int(lines.positions[index]), reason, detail) for index, reason, detail in broken]
        kept, columns = wrong.good(columns)
        return Rows(kept, columns, [*faults, *ragged, *wrong.faults], lines.raw)

    def _parse(self, piece: Piece, payload: bytes) -> ParsedCsv:
        # Unnamed columns, such as a data frame's index, get names that no header can have.
        names = [name or f"\0{index}" for index, name in enumerate(piece.columns)]
        wanted = [column.name for column in self.layout.present(piece.columns)]
        return parse(payload, names, wanted, piece.delimiter, piece.null)

    def _convert(self, texts: dict[str, pa.Array], wrong: WrongTypes) -> dict[str, pa.Array]:
        columns = {}
        for column in self.layout.present(list(texts)):
            columns[column.name], misfits = from_text(texts[column.name], column.kind, self.timestamp_unit)
            wrong.mark(misfits, Reason.WRONG_TYPE, f"'{column.name}' is not {column.kind}")
        return columns


@dataclass(frozen=True)
class CsvLines:
    """The lines of a piece, found again only when a row is rejected."""

    piece: Piece

    @cached_property
    def spans(self) -> Spans:
        """Where each record of the payload is."""
        dialect = Dialect(self.piece.delimiter, len(self.piece.columns), _NO_BOUND)
        return scan(self.piece.payload, dialect, last=True).records

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The row number of each record of the payload."""
        return self.piece.positions()

    def raw(self, position: int, /) -> bytes:
        """Return the line or lines of a row."""
        return self.spans.text(self.piece.payload, int(np.searchsorted(self.positions, position)))


@dataclass(frozen=True, slots=True)
class ParsedCsv:
    """Columns of text by name, and the records with too few or too many fields: index, detail."""

    columns: dict[str, pa.Array]
    ragged: list[tuple[int, str]] = field(default_factory=list)


def parse(payload: bytes, names: list[str], wanted: list[str], delimiter: str, null: str = "") -> ParsedCsv:
    """Parse records without a header; `wanted` columns only, all as text. Unquoted, `null` and nothing are null."""
    if not payload.strip(b"\r\n"):
        return ParsedCsv({name: pa.nulls(0, pa.string()) for name in wanted})
    ragged: list[tuple[int, str]] = []

    def skip(row: pc.InvalidRow) -> str:
        ragged.append((row.number - 1, f"{row.actual_columns} fields where the header has {row.expected_columns}"))
        return "skip"

    table = pc.read_csv(
        pa.py_buffer(payload),
        # One block: row numbers are counted within a block, and pieces are small.
        read_options=pc.ReadOptions(column_names=names, use_threads=False, block_size=len(payload) + 1),
        parse_options=pc.ParseOptions(
            delimiter=delimiter, newlines_in_values=b'"' in payload, ignore_empty_lines=True, invalid_row_handler=skip
        ),
        convert_options=pc.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            null_values=["", null],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    columns = {name: table.column(name).combine_chunks() for name in wanted}
    return ParsedCsv(columns, ragged)
