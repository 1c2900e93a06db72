"""A file of the corpus, what has to become of it, and records as bytes of each format."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.errors import BadFile, RaytideError
from tests.bad_files.world import good, good_row
from tests.file_world import Row, Sent


@dataclass(frozen=True)
class Reject:
    """A row that has to be in quarantine; without `payload` as JSON of the row."""

    position: int
    reason: str
    payload: bytes | None = None


@dataclass(frozen=True)
class Done:
    """The file is DONE with exactly these rows in history and these in quarantine."""

    rows: Sequence[Row] = ()
    rejects: Sequence[Reject] = ()


@dataclass(frozen=True)
class Failed:
    """The file is FAILED as a whole, with an error that says this, and left nothing behind."""

    text: str
    error: type[RaytideError] = BadFile


@dataclass(frozen=True)
class Refused:
    """The file is not even received, with an error that says this."""

    text: str
    error: type[RaytideError]


@dataclass(frozen=True)
class Case:
    """A file and its expectation."""

    name: str
    format: str
    content: bytes
    expected: Done | Failed | Refused
    source: str = "features"
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> Sent:
        """Return what the client sends."""
        return Sent(self.format, self.content, self.source, self.options)


def good_rows(source: str, positions: Iterable[int]) -> list[Row]:
    """Return the feature rows of the good records at these positions."""
    return [good_row(source, position) for position in positions]


def goods(source: str, count: int) -> list[dict[str, object]]:
    """Return the first good records of a file."""
    return [good(source, position) for position in range(count)]


def csv_header(source: str, delimiter: str = ",") -> bytes:
    """Return the header of a CSV file of `source`."""
    return delimiter.join(good(source, 0)).encode()


def csv_line(record: Mapping[str, Any], delimiter: str = ",") -> bytes:
    """Return a record as a line of CSV; empty text is quoted, for nothing is null."""
    return delimiter.join(_csv_cell(value) for value in record.values()).encode()


def csv(lines: Iterable[bytes], source: str = "features", end: bytes = b"\n") -> bytes:
    """Return a CSV file of these lines."""
    return b"".join(line + end for line in (csv_header(source), *lines))


def json_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON."""
    return json.dumps(record).encode()


def jsonl(lines: Iterable[bytes]) -> bytes:
    """Return a JSON Lines file of these lines."""
    return b"".join(line + b"\n" for line in lines)


def parquet(columns: Mapping[str, pa.Array] | pa.Table, **options: Any) -> bytes:
    """Return a Parquet file of these columns."""
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return '"' + text.replace('"', '""') + '"' if not text or any(mark in text for mark in ',;"\r\n') else text
