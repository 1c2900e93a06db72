"""Text files into pieces: what CSV and JSON Lines have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cluster.ingest.files.blocks import KEPT_OF_TOO_LARGE, Bounds, blocks
from cluster.ingest.files.csv_records import CsvScan
from cluster.ingest.files.lines import Spans
from cluster.ingest.files.piece import MAX_PIECE_ROWS, Format, Piece, SplitOptions
from cluster.ingest.files.unpack import opened
from cluster.records import Reason, Rejected

#: `scan(block, last)` finds the records that a block holds completely.
Scan = Callable[[bytes, bool], CsvScan]

_OPEN_QUOTE = "a quote is opened and never closed"


@dataclass
class TextSplitter:
    """Numbers the rows and pieces of one file; one pass, one thread."""

    format: Format
    options: SplitOptions
    columns: tuple[str, ...] = ()
    _number: int = field(default=0, init=False)
    _row: int = field(default=0, init=False)

    def split(self, file: Path, start: int, scan: Scan) -> Iterator[Piece]:
        """Yield the pieces of `file` from byte `start` on."""
        line_ends = b"\r\n" if self.format is Format.CSV else b"\n"
        bounds = Bounds(self.options.piece_bytes, self.options.max_record_bytes, line_ends)
        source = blocks(opened(file, self.options), start, bounds)
        block = next(source, None)
        while block is not None:
            if block.too_large:
                yield self._piece(b"", 1, (self._too_large(self._row, block.data),))
                block = next(source, None)
                continue
            found = scan(block.data, block.last)
            yield from self._pieces(block.data, found)
            try:
                block = source.send(found.consumed)
            except StopIteration:
                return

    def _pieces(self, block: bytes, found: CsvScan) -> Iterator[Piece]:
        for first in range(0, len(found.records), MAX_PIECE_ROWS):
            last = min(first + MAX_PIECE_ROWS, len(found.records))
            records, malformed = found.records.slice(first, last), found.malformed[first:last]
            too_large = records.stops - records.starts > self.options.max_record_bytes
            bad = np.flatnonzero(malformed | too_large).tolist()
            faults = tuple(self._fault(block, records, index, too_large=bool(too_large[index])) for index in bad)
            yield self._piece(without(block, records, bad), len(records), faults)

    def _piece(self, payload: bytes, rows: int, faults: tuple[Rejected, ...]) -> Piece:
        columns, options = self.columns, self.options
        piece = Piece(self._number, self._row, rows, self.format, payload, columns, options.delimiter, faults, options.null)
        self._number += 1
        self._row += rows
        return piece

    def _fault(self, block: bytes, records: Spans, index: int, *, too_large: bool) -> Rejected:
        text = records.text(block, index)
        if too_large:
            return self._too_large(self._row + index, text)
        return Rejected(self._row + index, Reason.MALFORMED_ROW, _OPEN_QUOTE, text)

    def _too_large(self, position: int, text: bytes) -> Rejected:
        return too_large(position, text, self.options.max_record_bytes)


def too_large(position: int, text: bytes, limit: int) -> Rejected:
    """Return the reject of a record that is longer than `limit`, with the start of its `text`."""
    detail = f"longer than {limit} bytes (ingest.max_record_bytes); the first {KEPT_OF_TOO_LARGE} are kept"
    return Rejected(position, Reason.TOO_LARGE, detail, text[:KEPT_OF_TOO_LARGE])


def without(block: bytes, records: Spans, bad: list[int]) -> bytes:
    """Return the bytes of all records but the `bad` ones."""
    if not len(records):
        return b""
    if not bad:
        return block[records.starts[0] : records.nexts[-1]]
    view = memoryview(block)
    edges = [-1, *bad, len(records)]
    spans = [(a + 1, b - 1) for a, b in itertools.pairwise(edges) if a + 1 < b]
    return b"".join(view[records.starts[first] : records.nexts[final]] for first, final in spans)
