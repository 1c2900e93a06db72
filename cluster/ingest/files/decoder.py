"""A piece of a file into events and rejected rows: where files join the path that Kafka takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from cluster.config import IngestConfig
from cluster.ingest.decode import compile_decoder
from cluster.ingest.files.csv_again import BROKEN_ROWS, around
from cluster.ingest.files.csv_read import CsvReader
from cluster.ingest.files.jsonl_split import BLANKS
from cluster.ingest.files.layout import layout_of
from cluster.ingest.files.parquet_read import ParquetReader
from cluster.ingest.files.piece import Format, Piece
from cluster.ingest.files.rows import RawRow, Reader
from cluster.ingest.parsed import Parsed
from cluster.ingest.validate import compile_validator
from cluster.records import Events, Headers, Records, Rejected
from cluster.registry.catalog import AnySource, Catalog


@dataclass(frozen=True, slots=True)
class DecodedPiece:
    """What became of a piece's rows: each is in `events` or in `rejected`, by its row number.

    `raw` returns the bytes of any row of the payload, for events that fail later. `around` is what a row needs to be read
    again without its file, kept with each rejected row as headers.
    """

    events: Events
    rejected: list[Rejected]
    raw: RawRow
    around: Headers = ()


#: `decode(piece, created_us, now_us)`; `created_us` is the `created_at` of rows that bring none. Never raises for data.
FileDecoder = Callable[[Piece, int, int], DecodedPiece]


def compile_file_decoder(source: AnySource, catalog: Catalog, ingest: IngestConfig, format_: Format) -> FileDecoder:
    """Prepare reading pieces of `format_` for `source`; raise Misconfigured."""
    if format_ is Format.JSONL:
        return _json_decoder(source, catalog, ingest)
    layout = layout_of(source)
    if format_ is Format.CSV:
        return _column_decoder(CsvReader(layout, source.records.timestamp_unit), source, catalog, ingest)
    return _column_decoder(ParquetReader(layout), source, catalog, ingest)


def _column_decoder(reader: Reader, source: AnySource, catalog: Catalog, ingest: IngestConfig) -> FileDecoder:
    validator = compile_validator(source, catalog, ingest)

    def decode(piece: Piece, created_us: int, now_us: int) -> DecodedPiece:
        rows = reader(piece)
        parsed = Parsed(rows.positions, np.full(len(rows.positions), created_us, np.int64), rows.columns)
        events, _, invalid = validator(parsed, now_us)
        faults = [*rows.faults, *((int(rows.positions[index]), reason, detail) for index, reason, detail in invalid)]
        kept = around(piece)
        rejected = [
            Rejected(position, reason, detail, rows.raw(position), headers=() if reason in BROKEN_ROWS else kept)
            for position, reason, detail in faults
        ]
        return DecodedPiece(events, _in_order([*piece.faults, *rejected], created_us), rows.raw, kept)

    return decode


def _json_decoder(source: AnySource, catalog: Catalog, ingest: IngestConfig) -> FileDecoder:
    decode_records = compile_decoder(source, catalog, ingest)

    def decode(piece: Piece, created_us: int, now_us: int) -> DecodedPiece:
        positions = piece.positions()
        values = [line for line in piece.payload.replace(b"\r\n", b"\n").split(b"\n") if line.strip(BLANKS)]
        records = Records(
            first=piece.first_row,
            next=piece.first_row + piece.rows,
            positions=positions,
            values=values,
            timestamps=np.full(len(values), created_us, np.int64),
        )
        events, rejected = decode_records(records, now_us)
        rejects = _in_order([*piece.faults, *rejected], created_us)
        return DecodedPiece(events, rejects, lambda position: values[int(np.searchsorted(positions, position))])

    return decode


def _in_order(rejected: Iterable[Rejected], created_us: int) -> list[Rejected]:
    return sorted((replace(r, time_us=created_us) for r in rejected), key=lambda r: r.position)
