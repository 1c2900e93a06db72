"""Rejected rows of a CSV file as a piece of their own, long after the file is gone.

A row means nothing without the names of its columns, so these are kept with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cluster.ingest.files.piece import Format, Piece
from cluster.records import Headers, Reason

#: Rows that are no rows of the file's columns: no definitions will ever read them, so nothing is kept with them.
BROKEN_ROWS = frozenset({Reason.MALFORMED_ROW, Reason.INVALID_UTF8, Reason.TOO_LARGE})

#: Columns that take more are not kept. What is kept has at least a delimiter for each of them, so it grows with the piece.
MOST_BYTES = 4096

_COLUMNS, _DELIMITER, _NULL = "csv-columns", "csv-delimiter", "csv-null"


def around(piece: Piece) -> Headers:
    """Return what is kept with each rejected row; nothing for other formats."""
    if piece.format is not Format.CSV:
        return ()
    columns = json.dumps(piece.columns, ensure_ascii=False).encode()
    if len(columns) > MOST_BYTES:
        return ()
    null = ((_NULL, piece.null.encode()),) if piece.null else ()
    return ((_COLUMNS, columns), (_DELIMITER, piece.delimiter.encode()), *null)


def piece_of(rows: Sequence[bytes], kept: Headers) -> Piece:
    """Return a piece of these rows, numbered from 0; `kept` is what `around` returned for them."""
    found = dict(kept)
    payload = b"".join(row + b"\n" for row in rows)
    columns, delimiter = tuple(json.loads(found[_COLUMNS])), found[_DELIMITER].decode()
    return Piece(0, 0, len(rows), Format.CSV, payload, columns, delimiter, null=found.get(_NULL, b"").decode())
