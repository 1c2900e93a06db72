"""Files to upload: long records as CSV, Parquet and JSON Lines in turn."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from generator.events import FeatureEvent, Maker
from generator.profiles import Settings

FORMATS = ("csv", "parquet", "jsonl")
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


@dataclass(frozen=True, slots=True)
class File:
    """A file's rows. `events` has None where the row is bad, so that its index is the row's number, from 0."""

    name: str
    format: str
    rows: tuple[FeatureEvent, ...]
    events: tuple[FeatureEvent | None, ...]

    def write(self, folder: Path) -> Path:
        """Write the file; equal rows give equal bytes."""
        path = folder / self.name
        {"csv": _write_csv, "parquet": _write_parquet, "jsonl": _write_jsonl}[self.format](path, self.rows)
        return path


def make_file(settings: Settings, number: int, now: datetime) -> File:
    """Return the rows of the upload with this number: all good but for the profile's share of bad ones."""
    maker = Maker(settings, number % settings.producers, f"file-{number}")
    rows: list[FeatureEvent] = []
    events: list[FeatureEvent | None] = []
    for turn in range(settings.upload_rows):
        time = now - timedelta(seconds=settings.upload_rows - turn)
        event = maker.feature(turn + number * settings.upload_rows, time, time)
        bad = maker.happens(settings.profile.bad)
        rows.append(_spoilt(event, turn) if bad else event)
        events.append(None if bad else event)
    kind = FORMATS[number % len(FORMATS)]
    return File(f"features-{number:04d}.{kind}", kind, tuple(rows), tuple(events))


def _spoilt(event: FeatureEvent, turn: int) -> FeatureEvent:
    """Make a row bad in a way that each format can hold."""
    ways = (
        {"entity_id": ""},
        {"feature_name": "no_such_feature"},
        {"validated_at": event.validated_at + timedelta(days=3650)},
        {"entity_id": "x" * 257},
    )
    return msgspec.structs.replace(event, **ways[turn % len(ways)])


def _texts(event: FeatureEvent) -> list[str]:
    value = "" if event.value is None else repr(event.value)
    times = (event.validated_at.isoformat(), event.created_at.isoformat())
    return [event.id, event.entity_id, event.feature_name, value, *times]


def _write_csv(path: Path, rows: Sequence[FeatureEvent]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_SCHEMA.names)
        writer.writerows(map(_texts, rows))


def _write_parquet(path: Path, rows: Sequence[FeatureEvent]) -> None:
    table = pa.Table.from_pylist([msgspec.structs.asdict(row) for row in rows], schema=_SCHEMA)
    pq.write_table(table, path)


def _write_jsonl(path: Path, rows: Sequence[FeatureEvent]) -> None:
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
