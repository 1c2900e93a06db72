"""Small tables beside the definitions: a CSV file read once, when they load, and shipped with the functions that use it."""

from __future__ import annotations

import csv
import hashlib
import inspect
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from cluster.errors import Misconfigured
from cluster.registry.definitions import DType
from cluster.registry.names import near_matches

MAX_BYTES = 10 * 1024 * 1024

Value: TypeAlias = str | float
Reader: TypeAlias = Callable[[str, int], Value]


class Lookup(Mapping[Any, Any]):
    """A table that cannot be changed, from `lookup`. `digest` is the SHA-256 of what is in it, whatever the rows' order."""

    def __init__(self, name: str, values: Mapping[Value, Value]) -> None:
        self._name, self._values = name, dict(values)
        entries = sorted(repr(item) for item in self._values.items())
        self.digest = hashlib.sha256("\n".join(entries).encode()).hexdigest()

    def __getitem__(self, key: Value) -> Value:
        return self._values[key]

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<lookup of {len(self)} keys from {self._name}>"


def lookup(
    path: str | Path,
    *,
    key: str,
    value: str,
    key_type: str = DType.STRING,
    value_type: str = DType.FLOAT64,
) -> Lookup:
    """Read two columns of a small CSV file into a table that functions use like a dictionary.

    `RATES = lookup("rates.csv", key="currency", value="rate")`: the path is relative to the file that calls this, wherever
    the process runs. Keys are text and values numbers, unless `key_type` or `value_type` says int64, float64,
    string or bool. Call it at the top of a module. Raise Misconfigured for a file that is missing, empty or over 10 MB, a
    column that it lacks, a key that is there twice, a cell of another type.
    """
    frame = inspect.currentframe()
    caller = frame.f_back.f_code.co_filename if frame and frame.f_back else ""
    try:
        read_key, read_value = _reader(key_type), _reader(value_type)
        file = _beside(caller, path)
        return Lookup(file.name, _table(_pairs(_lines(file), key, value), read_key, read_value))
    except _BadTable as error:
        raise Misconfigured(f"lookup '{path}': {error}") from None


class _BadTable(Exception):
    """What is wrong with a file."""


def _beside(caller: str, path: str | Path) -> Path:
    file = Path(caller).parent / path
    if not file.is_absolute():  # a prompt or a notebook: its folder would be the working directory, which is chance
        raise _BadTable(f"the path is relative, and {caller} is not a file that it could lie beside: give the whole path")
    return file


def _lines(file: Path) -> TextIO:
    if not file.is_file():
        others = (other.name for other in file.parent.glob("*.csv"))
        raise _BadTable(f"there is no file {file}{near_matches(file.name, others)}")
    if (size := file.stat().st_size) > MAX_BYTES:
        raise _BadTable(f"{size:,} bytes are too many to ship with the definitions, {MAX_BYTES:,} is the most: use a source")
    try:
        return io.StringIO(file.read_bytes().decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise _BadTable(f"not UTF-8 at byte {error.start}") from None


def _pairs(lines: TextIO, key: str, value: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, key and value of each row."""
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        at_key, at_value = _column(header, key), _column(header, value)
        for row in rows:
            if row and len(row) != len(header):
                raise _BadTable(f"line {rows.line_num} has {len(row)} cells, the header has {len(header)}")
            if row:
                yield rows.line_num, row[at_key], row[at_value]
    except csv.Error as error:
        raise _BadTable(f"line {rows.line_num}: {error}") from None


def _column(header: list[str], name: str) -> int:
    if not header:
        raise _BadTable("the file is empty: its first line names the columns")
    if header.count(name) != 1:
        what = "more than one" if name in header else "no"
        raise _BadTable(f"{what} column '{name}'{near_matches(name, header) if name not in header else ''}")
    return header.index(name)


def _table(pairs: Iterator[tuple[int, str, str]], read_key: Reader, read_value: Reader) -> dict[Value, Value]:
    found: dict[Value, Value] = {}
    for line, key, value in pairs:
        known = read_key(key, line)
        if known in found:
            raise _BadTable(f"line {line}: key '{key}' is there twice")
        found[known] = read_value(value, line)
    if not found:
        raise _BadTable("the file has no rows")
    return found


def _number(cell: str) -> float:
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return number


def _text(cell: str) -> str:
    if not cell:
        raise ValueError(cell)
    return cell


def _truth(cell: str) -> bool:
    return ("false", "true").index(cell.lower()) == 1


_READ: Mapping[str, Callable[[str], Value]] = {
    DType.FLOAT64: _number,
    DType.INT64: int,
    DType.STRING: _text,
    DType.BOOL: _truth,
}


def _reader(dtype: str) -> Reader:
    """Return what reads a cell of a line."""
    if dtype not in _READ:
        raise _BadTable(f"types are {', '.join(_READ)}, not {dtype!r}")

    def read(cell: str, line: int) -> Value:
        try:
            return _READ[dtype](cell)
        except ValueError:
            raise _BadTable(f"line {line}: {cell!r} is not of type {dtype}") from None

    return read
