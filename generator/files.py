"""Files to upload, written in one pass with little memory: CSV, Parquet and JSON Lines, the text ones also packed."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from generator.events import FeatureEvent
from generator.file_rows import FileEvents, FileRows
from generator.profiles import Settings

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("entity_id", pa.string()),
        ("feature_name", pa.string()),
        ("value", pa.float64()),
        ("validated_at", pa.timestamp("us", tz="UTC")),
        ("created_at", pa.timestamp("us", tz="UTC")),
    ],
)
#: Rows that are in memory at once; a row group of Parquet.
_ROWS_AT_ONCE = 20_000
#: Rows from which the size of one is taken.
_SAMPLE_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Written:
    """A file on disk, and how many of its rows are good and bad."""

    path: Path
    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be written. `kind` is its suffix, such as `csv.gz`."""

    name: str
    kind: str
    made: FileRows

    @property
    def format(self) -> str:
        """Return how the bytes are to be read once they are unpacked."""
        return self.kind.partition(".")[0]

    @property
    def events(self) -> FileEvents:
        """Return what must be stored of it, row by row; its rows are made anew for that."""
        return FileEvents(self.made)

    def write(self, folder: Path) -> Written:
        """Write the file; equal rows give equal bytes."""
        path, bad = folder / self.name, 0

        def rows() -> Iterator[FeatureEvent]:
            nonlocal bad
            for row, event in self.made:
                bad += event is None
                yield row

        _write(path, self.kind, rows())
        return Written(path, len(self.made) - bad, bad)


def make_file(settings: Settings, number: int, now: datetime) -> File:
    """Return the upload with this number: its rows are good but for the profile's share of bad ones."""
    kind = settings.file_kinds[number % len(settings.file_kinds)]
    count = settings.upload_rows if settings.file_bytes is None else _rows_in(settings, kind, number, now)
    return File(f"features-{number:04d}.{kind}", kind, FileRows(settings, number, now, count))


def _rows_in(settings: Settings, kind: str, number: int, now: datetime) -> int:
    """Return how many rows make a file of about `settings.file_bytes`, from the size of some of them."""
    sample = (row for row, _ in FileRows(settings, number, now, _SAMPLE_ROWS))
    with tempfile.TemporaryDirectory(prefix="raytide-generator-") as folder:
        path = Path(folder) / "sample"
        _write(path, kind, sample)
        return max(1, int(settings.file_bytes or 0) * _SAMPLE_ROWS // path.stat().st_size)


def _write(path: Path, kind: str, rows: Iterable[FeatureEvent]) -> None:
    format_, _, packing = kind.partition(".")
    with path.open("wb") as file, _packed(file, packing) as stream:
        _WRITERS[format_](stream, _batches(rows))


@contextmanager
def _packed(file: IO[bytes], packing: str) -> Iterator[IO[bytes]]:
    if packing == "gz":
        with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as stream:
            yield stream  # type: ignore[misc] # a stream of bytes in all that is used here
    elif packing == "zst":
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
            yield stream
    else:
        yield file


def _batches(rows: Iterable[FeatureEvent]) -> Iterator[list[FeatureEvent]]:
    left = iter(rows)
    while batch := list(itertools.islice(left, _ROWS_AT_ONCE)):
        yield batch


def _texts(event: FeatureEvent) -> list[str]:
    value = "" if event.value is None else repr(event.value)
    times = (event.validated_at.isoformat(), event.created_at.isoformat())
    return [event.id, event.entity_id, event.feature_name, value, *times]


def _write_csv(stream: IO[bytes], batches: Iterator[list[FeatureEvent]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_SCHEMA.names)
    for batch in batches:
        writer.writerows(map(_texts, batch))
        stream.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()


def _write_parquet(stream: IO[bytes], batches: Iterator[list[FeatureEvent]]) -> None:
    with pq.ParquetWriter(stream, _SCHEMA) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist([msgspec.structs.asdict(row) for row in batch], schema=_SCHEMA))


def _write_jsonl(stream: IO[bytes], batches: Iterator[list[FeatureEvent]]) -> None:
    encoder = msgspec.json.Encoder()
    for batch in batches:
        stream.write(encoder.encode_lines(batch))


_WRITERS: Mapping[str, Callable[[IO[bytes], Iterator[list[FeatureEvent]]], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
}
