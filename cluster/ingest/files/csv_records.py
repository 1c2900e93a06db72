"""Where CSV records end. A quote that is never closed costs its own line and no other.

A line with an even number of quotes is a record. A line with an odd number opens a record that goes on to the next
such line. If what lies between is not a strictly valid record with the header's number of columns, or is too long, or
the file ends first, then the opening line alone is malformed, and the line after it starts afresh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.ingest.files.lines import CR, LF, Offsets, Spans, lines

QUOTE = 34


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a CSV file's records look like; the header says how many `columns` there are."""

    delimiter: str
    columns: int
    max_record_bytes: int


@dataclass(frozen=True, slots=True)
class CsvScan:
    """The records of a block, blank lines left out; `malformed` marks the lines whose quote is never closed.

    `consumed` is where the next block has to start.
    """

    records: Spans
    malformed: NDArray[np.bool_]
    consumed: int


def scan(block: bytes, dialect: Dialect, *, last: bool) -> CsvScan:
    """Find the records that `block` holds completely."""
    found = lines(block, last=last, lone_cr=True)
    quotes = quotes_of(block)
    odd = _odd_lines(found, quotes)
    if not len(odd):
        return _scan(found, np.zeros(len(found), np.bool_), len(found))
    valid = _valid_pairs(block, (found, odd), quotes, dialect)
    opened, alone = _pair(valid)
    decided = len(found)
    if alone[-1:] == [len(odd) - 1] and not last and _may_go_on(block, int(found.starts[odd[-1]]), dialect):
        decided = int(odd[-1])
        alone.pop()
    malformed = np.zeros(len(found), np.bool_)
    malformed[odd[alone]] = True
    joined, firsts = _join(found, odd[opened], odd[np.array(opened, np.int64) + 1])
    return _scan(joined, malformed[firsts], int(firsts[:decided].sum()))


def quotes_of(block: bytes) -> Offsets:
    """Return where the quotes are."""
    if b'"' not in block:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.frombuffer(block, np.uint8) == QUOTE)


def misplaced(block: bytes, quotes: Offsets, delimiter: str) -> Offsets:
    """Return those of `quotes` that neither start a field, nor end one, nor are doubled inside one.

    The first of `quotes` is taken to be outside a quoted field, the second inside, and so on.
    """
    # An end of line at both ends, so that every quote has two neighbours.
    data = np.frombuffer(b"\n%b\n" % block, np.uint8)
    beside = np.zeros(256, np.bool_)
    beside[[ord(delimiter), LF, CR, QUOTE]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    wrong = np.concatenate((opening[~beside[data[opening]]], closing[~beside[data[closing + 2]]]))
    return np.sort(wrong)


def record_pattern(delimiter: str) -> re.Pattern[bytes]:
    """Return the pattern of a strictly valid record: a field is quoted as a whole or holds no quote."""
    mark = re.escape(delimiter.encode())
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"\r\n' + mark + rb"]*+)"
    return re.compile(field + rb"(?:" + mark + field + rb")*+")


def _scan(records: Spans, malformed: NDArray[np.bool_], complete: int) -> CsvScan:
    """Cut what is not complete, and leave blank lines out."""
    consumed = int(records.nexts[complete - 1]) if complete else 0
    records, malformed = records.slice(0, complete), malformed[:complete]
    filled = records.stops > records.starts
    return CsvScan(records.where(filled), malformed[filled], consumed)


def _odd_lines(found: Spans, quotes: Offsets) -> Offsets:
    """Return the indexes of the lines with an odd number of quotes."""
    if not len(quotes) or not len(found):
        return np.empty(0, np.int64)
    before = np.concatenate(([0], np.searchsorted(quotes, found.nexts)))
    odd: Offsets = np.flatnonzero(np.diff(before) & 1)
    return odd


def _valid_pairs(block: bytes, lines_: tuple[Spans, Offsets], quotes: Offsets, dialect: Dialect) -> list[bool]:
    """Say for each odd line but the last whether a strictly valid record goes from it to the next one."""
    found, odd = lines_
    starts, stops = found.starts[odd[:-1]], found.stops[odd[1:]]
    valid = stops - starts <= dialect.max_record_bytes
    marks = np.flatnonzero(np.frombuffer(block, np.uint8) == ord(dialect.delimiter))
    depth = np.searchsorted(quotes, marks)
    for parity in (0, 1):  # in front of every second odd line stands an odd number of quotes
        some = slice(parity, None, 2)
        strange = misplaced(block, quotes[parity:], dialect.delimiter)
        separators = marks[(depth - parity) % 2 == 0]
        valid[some] &= _count(strange, starts[some], stops[some]) == 0
        valid[some] &= _count(separators, starts[some], stops[some]) == dialect.columns - 1
    pairs: list[bool] = valid.tolist()
    return pairs


def _count(offsets: Offsets, starts: Offsets, stops: Offsets) -> Offsets:
    counts: Offsets = np.searchsorted(offsets, stops) - np.searchsorted(offsets, starts)
    return counts


def _pair(valid: list[bool]) -> tuple[list[int], list[int]]:
    """Return which odd lines open a record that ends with the next one, and which stay alone, by index."""
    opened, alone = [], []
    at = 0
    while at <= len(valid):
        if at < len(valid) and valid[at]:
            opened.append(at)
            at += 2
        else:
            alone.append(at)
            at += 1
    return opened, alone


def _may_go_on(block: bytes, start: int, dialect: Dialect) -> bool:
    """Return True while the end of a record that is open at `start` may come in the next block."""
    return len(block) - start <= dialect.max_record_bytes + len(b"\r\n")


def _join(found: Spans, opened: Offsets, closed: Offsets) -> tuple[Spans, NDArray[np.bool_]]:
    """Return the records, given the first and last lines of those that have several; and which lines begin one."""
    steps = np.zeros(len(found) + 1, np.int64)
    steps[opened] += 1
    steps[closed] -= 1
    goes_on = np.cumsum(steps)[:-1] > 0  # the line's end is inside a record
    firsts = np.concatenate(([True], ~goes_on[:-1]))
    return Spans(found.starts[firsts], found.stops[~goes_on], found.nexts[~goes_on]), firsts
