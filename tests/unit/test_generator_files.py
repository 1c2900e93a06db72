"""Files that the generator writes: every kind holds its rows, equal rows are equal bytes, and size needs no memory."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from generator import files
from generator.file_rows import FileRows
from generator.files import make_file
from generator.profiles import FILE_KINDS, Profile, Settings

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLAN = Settings("nowhere:1", profile=Profile(bad=0.2, null=0.2), start=START, file_kinds=FILE_KINDS)
NUMBERS = range(len(FILE_KINDS))


def unpacked(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    return path.read_bytes()


def read(path: Path, format_: str) -> list[dict[str, Any]]:
    content = unpacked(path)
    if format_ == "parquet":
        return list(pq.read_table(io.BytesIO(content)).to_pylist())
    lines = content.decode().splitlines()
    return list(csv.DictReader(lines)) if format_ == "csv" else [json.loads(line) for line in lines]


@pytest.mark.parametrize("number", NUMBERS)
def test_files_hold_their_rows(number: int, tmp_path: Path) -> None:
    file = make_file(PLAN, number, START)
    written = file.write(tmp_path)
    assert written.path.name.endswith(f".{FILE_KINDS[number]}")
    rows, events = [row for row, _ in file.made], list(file.events)
    assert len(rows) == len(events) == len(file.events) == 500
    assert 60 < written.bad < 140
    assert (written.good, written.bad) == (500 - events.count(None), events.count(None))
    assert all(event in {None, row} for event, row in zip(events, rows, strict=True))
    found = read(written.path, file.format)
    assert [row["id"] for row in found] == [row.id for row in rows]
    values = [None if row["value"] in {None, ""} else float(row["value"]) for row in found]
    assert values == [row.value for row in rows]
    times = [row["validated_at"] for row in found]
    assert [t if isinstance(t, datetime) else datetime.fromisoformat(t) for t in times] == [r.validated_at for r in rows]


@pytest.mark.parametrize("number", NUMBERS)
def test_equal_files_are_equal_bytes_and_rows_stay_the_same(number: int, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    one, two = (make_file(PLAN, number, START).write(folder) for folder in (tmp_path, tmp_path / "again"))
    assert one.path.read_bytes() == two.path.read_bytes()
    other = replace(PLAN, seed=2)
    assert list(make_file(PLAN, number, START).events) != list(make_file(other, number, START).events)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_size_in_bytes_is_nearly_kept(number: int, tmp_path: Path) -> None:
    written = make_file(replace(PLAN, file_bytes=1_000_000), number, START).write(tmp_path)
    assert 900_000 < written.path.stat().st_size < 1_100_000


def test_one_row_is_a_file(tmp_path: Path) -> None:
    written = make_file(replace(PLAN, upload_rows=1, profile=Profile()), 0, START).write(tmp_path)
    assert (written.good, written.bad, len(read(written.path, "csv"))) == (1, 0, 1)
    assert len(make_file(replace(PLAN, file_bytes=1), 0, START).made) == 1


def test_rows_are_written_as_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 10)
    made = 0
    ahead: list[int] = []
    make = FileRows.__iter__

    def counted(self: FileRows) -> Any:
        nonlocal made
        for row in make(self):
            made += 1
            yield row

    encode = files._texts

    def seen(event: Any) -> list[str]:
        ahead.append(made - len(ahead))
        return encode(event)

    monkeypatch.setattr(FileRows, "__iter__", counted)
    monkeypatch.setattr(files, "_texts", seen)
    make_file(PLAN, 0, START).write(tmp_path)
    assert len(ahead) == 500
    assert max(ahead) <= 10, "no more rows than a batch wait to be written"
