"""A CSV file into pieces: its header, then whole records."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.errors import BadFile
from cluster.ingest.files.csv_records import Dialect, record_pattern, scan
from cluster.ingest.files.piece import Format, Piece, SplitOptions
from cluster.ingest.files.sniff import BOM
from cluster.ingest.files.text_split import TextSplitter
from cluster.ingest.files.unpack import opened

_DELIMITERS = {",": "a comma", ";": "a semicolon", "|": "a bar", "\t": "a tab"}


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a CSV's columns, and the byte at which its rows begin."""

    columns: tuple[str, ...]
    end: int


def split_csv(file: Path, options: SplitOptions) -> Iterator[Piece]:
    """Yield the pieces of a CSV file; raise BadFile when its header does not fit the source."""
    header = read_header(file, options)
    try:
        options.layout.check(header.columns)
    except BadFile as error:
        raise BadFile(f"{error}{_other_delimiter(file, options)}") from None
    dialect = Dialect(options.delimiter, len(header.columns), options.max_record_bytes)
    splitter = TextSplitter(Format.CSV, options, header.columns)
    return splitter.split(file, header.end, lambda block, last: scan(block, dialect, last=last))


def read_header(file: Path, options: SplitOptions) -> Header:
    """Return the first record of the file that is not blank; raise BadFile when it cannot be a header."""
    with opened(file, options) as handle:
        head = handle.read(options.max_record_bytes + len(b"\r\n"))
    start = len(BOM) if head.startswith(BOM) else 0
    start += len(head[start:]) - len(head[start:].lstrip(b"\r\n"))
    match = record_pattern(options.delimiter).match(head, start)
    end = match.end() if match else start
    if end - start > options.max_record_bytes:
        limit = f"{options.max_record_bytes} bytes (ingest.max_record_bytes)"
        raise BadFile(f"the CSV file's header is longer than {limit}: is this a CSV file?")
    if end == start or (end < len(head) and head[end] not in b"\r\n"):
        raise BadFile("the header, the CSV file's first line, is missing or has misplaced quotes: write the column names there")
    return Header(_names(head[start:end], options.delimiter), end)


def _other_delimiter(file: Path, options: SplitOptions) -> str:
    """Return a hint when another delimiter would find the columns that the source wants."""
    for mark, name in _DELIMITERS.items():
        with suppress(BadFile):
            options.layout.check(read_header(file, replace(options, delimiter=mark)).columns)
            return f"; it would have them with {name} as the delimiter: name that in the options"
    return ""


def _names(line: bytes, delimiter: str) -> tuple[str, ...]:
    if b"\0" in line:
        raise BadFile("the CSV file's header has NUL bytes: save the file as UTF-8 text")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadFile("the CSV file's header is not UTF-8: save the file as UTF-8 text") from None
    return tuple(next(csv.reader([text], delimiter=delimiter, strict=True)))
