"""A small file of each format, cut off at every byte, and what is left of it by code that anybody can check."""

from __future__ import annotations

import json

import pyarrow as pa

from tests.bad_files.case import Case, Done, Failed, Reject, csv, csv_line, good_rows, json_line, jsonl, parquet
from tests.bad_files.world import good, good_row

_RECORDS = [good("features", n) for n in range(3)]
# A quoted field with a line end, a delimiter and a character of two bytes, in a column of no interest.
CSV_FILE = csv([csv_line(record) + b',"\xc3\xa9,""\n"' for record in _RECORDS]).replace(
    b"event_timestamp", b"event_timestamp,note"
)
JSON_FILE = jsonl([json_line({**record, "note": "\u00e9"}).replace(b"\\u00e9", "é".encode()) for record in _RECORDS])
PARQUET_FILE = parquet(pa.Table.from_pylist(_RECORDS), compression="none", store_schema=False, write_statistics=False)


def csv_cuts() -> list[Case]:
    """Return the CSV file cut off at every byte."""
    return [Case(f"csv cut at {at}", "csv", CSV_FILE[:at], _of_csv(CSV_FILE[:at])) for at in range(len(CSV_FILE))]


def jsonl_cuts() -> list[Case]:
    """Return the JSON Lines file cut off at every byte."""
    return [Case(f"jsonl cut at {at}", "jsonl", JSON_FILE[:at], _of_jsonl(JSON_FILE[:at])) for at in range(len(JSON_FILE))]


def parquet_cuts() -> list[Case]:
    """Return the Parquet file cut off at every byte: nothing of any of them can be read."""

    def text(at: int) -> str:
        return "empty (0 bytes)" if at == 0 else "is not Parquet" if at < len(b"PAR1") else "is cut off, its end is missing"

    return [Case(f"parquet cut at {at}", "parquet", PARQUET_FILE[:at], Failed(text(at))) for at in range(len(PARQUET_FILE))]


def _of_csv(content: bytes) -> Done | Failed:
    header, *lines = content.split(b"\n")
    if header != CSV_FILE.split(b"\n")[0]:
        return Failed("empty (0 bytes)" if not header else "no column") if b"event_timestamp" not in header else Done()
    # Each record is two lines, for there is a line end within quotes: `…,"é,""` and `"`.
    whole = sum(line == b'"' for line in lines)
    rest = b"".join(lines[2 * whole : 2 * whole + 1])
    rows, rejects = good_rows("features", range(whole)), []
    if rest and _is_row(rest):
        rows.append(good_row("features", whole))
    elif rest:
        rejects.append(Reject(whole, "malformed_row", rest))
    return Done(rows, rejects)


def _is_row(line: bytes) -> bool:
    """Return whether the start of `u0,age,1.5,…,"é,""` is a row: with an empty note, or one whose doubled quote was cut."""
    return line.endswith((b"Z,", b',"\xc3\xa9,"'))


def _of_jsonl(content: bytes) -> Done | Failed:
    if not content:
        return Failed("empty (0 bytes)")
    rows, rejects = [], []
    for position, line in enumerate(line for line in content.split(b"\n") if line):
        try:
            json.loads(line.decode())
        except UnicodeDecodeError:
            rejects.append(Reject(position, "invalid_utf8", line))
        except ValueError:
            rejects.append(Reject(position, "malformed_json", line))
        else:
            rows.append(good_row("features", position))
    return Done(rows, rejects)
