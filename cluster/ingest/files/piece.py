"""A piece of a file: all that a task on any node needs to read some of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cluster.ingest.files.layout import Layout
from cluster.records import Rejected

#: Most rows of one piece, so that a file of tiny or broken rows stays bounded in a task's memory too.
MAX_PIECE_ROWS = 250_000


class Format(StrEnum):
    """How a file holds its rows."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"


class Compression(StrEnum):
    """How a file's bytes are packed as a whole."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """What splitting has to know beside the file: the source's columns, the bounds, and how the bytes are to be read.

    `null` is an unquoted text that stands for no value in a CSV, as the empty field always does.
    """

    layout: Layout
    piece_bytes: int
    max_record_bytes: int
    delimiter: str = ","
    null: str = ""
    compression: Compression = Compression.NONE
    max_unpacked_bytes: int = 2**62


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole rows of a file, `rows` of them from `first_row` on.

    Row numbers start at 0 with the first row of data; the header and blank lines have none. `faults` are the rows that
    splitting had to reject already; `payload` holds all others: lines (CSV without its header, JSON Lines) or an Arrow
    IPC stream (Parquet). `columns` names the columns of a CSV in file order.
    """

    number: int
    first_row: int
    rows: int
    format: Format
    payload: bytes
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    faults: tuple[Rejected, ...] = ()
    null: str = ""

    def positions(self) -> NDArray[np.int64]:
        """Return the row numbers of the rows in `payload`."""
        every = np.arange(self.first_row, self.first_row + self.rows, dtype=np.int64)
        if not self.faults:
            return every
        return np.delete(every, [fault.position - self.first_row for fault in self.faults])
