"""A file into pieces that can be read anywhere, streamed: memory holds a block or two, never the file.

Pure: reads the one file it is given. Row numbers start at 0 with the first row of data; the header and blank lines have
none, and a quoted line end does not end a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.ingest.files.csv_split import split_csv
from cluster.ingest.files.jsonl_split import split_jsonl
from cluster.ingest.files.layout import Layout, layout_of
from cluster.ingest.files.parquet_split import split_parquet
from cluster.ingest.files.piece import Compression, Format, Piece, SplitOptions
from cluster.ingest.files.sniff import check_is

__all__ = ["Compression", "Format", "Layout", "Piece", "SplitOptions", "layout_of", "split"]

_SPLITTERS: dict[Format, Callable[[Path, SplitOptions], Iterator[Piece]]] = {
    Format.CSV: split_csv,
    Format.JSONL: split_jsonl,
    Format.PARQUET: split_parquet,
}


def split(file: Path, format_: Format, options: SplitOptions) -> Iterator[Piece]:
    """Return the pieces of `file`, in row order, each made when asked for.

    Rows that cannot be told apart or are too long are in `Piece.faults`. Raise BadFile, at once for what the first
    bytes, header or footer show, while iterating for a page that is damaged: empty, of another format, or with
    columns that do not fit the source. A file without rows has no pieces.
    """
    check_is(file, format_, options)
    return _SPLITTERS[format_](file, options)
