"""CSV records that a parser would guess at: NUL bytes, text that is not UTF-8, quotes in the middle of a field."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cluster.ingest.files.csv_records import misplaced, quotes_of
from cluster.ingest.files.lines import Offsets, Spans
from cluster.ingest.parsed import RowFault
from cluster.records import Reason


def broken_records(payload: bytes, delimiter: str, records: Callable[[], Spans]) -> list[RowFault]:
    """Return the faults of a payload whose records each have an even number of quotes, by record index, ascending."""
    faults: dict[int, RowFault] = {}
    if b'"' in payload and len(strange := misplaced(payload, quotes_of(payload), delimiter)):
        _add(faults, _holders(records(), strange), Reason.MALFORMED_ROW, "a quote inside an unquoted field")
    if b"\0" in payload:
        nuls = np.flatnonzero(np.frombuffer(payload, np.uint8) == 0)
        _add(faults, _holders(records(), nuls), Reason.MALFORMED_ROW, "a NUL byte")
    if not _is_utf8(payload):
        spans = records()
        wrong = [index for index in range(len(spans)) if not _is_utf8(spans.text(payload, index))]
        _add(faults, wrong, Reason.INVALID_UTF8, "the row is not UTF-8")
    return [faults[index] for index in sorted(faults)]


def _holders(records: Spans, offsets: Offsets) -> list[int]:
    holders: NDArray[np.int64] = np.unique(np.searchsorted(records.nexts, offsets, side="right"))
    found: list[int] = holders.tolist()
    return found


def _add(faults: dict[int, RowFault], indexes: list[int], reason: Reason, detail: str) -> None:
    for index in indexes:
        faults.setdefault(index, (index, reason, detail))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
