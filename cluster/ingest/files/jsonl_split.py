"""A JSON Lines file into pieces: whole lines. Lines of nothing but blanks are no rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cluster.ingest.files.csv_records import CsvScan
from cluster.ingest.files.lines import Spans, lines
from cluster.ingest.files.piece import Format, Piece, SplitOptions
from cluster.ingest.files.sniff import BOM
from cluster.ingest.files.text_split import TextSplitter
from cluster.ingest.files.unpack import opened

BLANKS = b" \t\r"


def split_jsonl(file: Path, options: SplitOptions) -> Iterator[Piece]:
    """Yield the pieces of a JSON Lines file."""
    with opened(file, options) as handle:
        start = len(BOM) if handle.read(len(BOM)) == BOM else 0
    return TextSplitter(Format.JSONL, options).split(file, start, scan_lines)


def scan_lines(block: bytes, last: bool) -> CsvScan:  # noqa: FBT001 - called by position, as `Scan` says
    """Find the complete lines that are not blank."""
    found = lines(block, last=last, lone_cr=False)
    consumed = int(found.nexts[-1]) if len(found) else 0
    filled = found.where(~_blank(block, found))
    return CsvScan(filled, np.zeros(len(filled), np.bool_), consumed)


def _blank(block: bytes, found: Spans) -> NDArray[np.bool_]:
    blank: NDArray[np.bool_] = found.stops == found.starts
    data = np.frombuffer(block, np.uint8)
    suspects = np.flatnonzero(~blank & np.isin(data[np.minimum(found.starts, len(data) - 1)], np.frombuffer(BLANKS, np.uint8)))
    for index in suspects.tolist():
        blank[index] = not found.text(block, index).strip(BLANKS)
    return blank
