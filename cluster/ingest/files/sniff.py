"""Files that are not what their sender says: named by their first bytes before anything else looks at them."""

from __future__ import annotations

import re
from pathlib import Path

from cluster.errors import BadFile
from cluster.ingest.files.piece import Compression, Format, SplitOptions
from cluster.ingest.files.unpack import opened

BOM = b"\xef\xbb\xbf"
PARQUET_MAGIC = b"PAR1"
_ENCRYPTED_PARQUET_MAGIC = b"PARE"
_MIN_PARQUET = 12  # two magics and the length of the footer
_HEAD_BYTES = 64 * 1024

#: One JSON document where JSON Lines belong: nothing but that starts like this, so that a bad first row is left to be rejected.
_DOCUMENTS = {
    "an array": re.compile(rb"\[\s*\{(?:[ \t\r]*\n|[^\n]*,[ \t\r]*\n|[^\n]*(?:\n\s*+\]?\s*+)?\Z)"),
    "an object over several lines": re.compile(rb"\{[ \t\r]*\n\s*\""),
}

_PACKED = {Compression.GZIP: b"\x1f\x8b", Compression.ZSTD: b"\x28\xb5\x2f\xfd"}
_SKIPPABLE = tuple(bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16))  # a Zstandard frame without data may come first
_OTHERS = {
    _PACKED[Compression.GZIP]: "gzip: unpack it first",
    _PACKED[Compression.ZSTD]: "zstd: unpack it first",
    b"BZh": "bzip2: unpack it first",
    b"\xfd7zXZ": "xz: unpack it first",
    b"PK\x03\x04": "a zip archive or spreadsheet: unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"ORC": "ORC: write it as Parquet",
    b"{\0": "UTF-16 text: save it as UTF-8",
    b"\0{": "UTF-16 text: save it as UTF-8",
}


def check_is(file: Path, format_: Format, options: SplitOptions) -> None:
    """Raise BadFile when `file` is empty or plainly not of the format, or not packed in the way, that it was sent as."""
    size = file.stat().st_size
    if size == 0:
        raise BadFile("the file is empty (0 bytes): send a file with at least a header or one row")
    if options.compression is not Compression.NONE:
        _check_text(_unpacked_head(file, options), format_)
        return
    with file.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
        handle.seek(max(0, size - len(PARQUET_MAGIC)))
        tail = handle.read()
    if format_ is Format.PARQUET:
        _check_parquet(head, tail, size)
    else:
        _check_text(head, format_)


def _unpacked_head(file: Path, options: SplitOptions) -> bytes:
    with file.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    is_zstd = options.compression is Compression.ZSTD
    if not head.startswith((_PACKED[options.compression], *(_SKIPPABLE if is_zstd else ()))):
        found = next((f"packed with {name}" for name, magic in _PACKED.items() if head.startswith(magic)), "not packed so")
        raise BadFile(
            f"the file was sent with compression {options.compression}, but it is {found}: name the right compression"
        )
    with opened(file, options) as source:
        unpacked = source.read(_HEAD_BYTES)
    if not unpacked:
        raise BadFile("the file is empty once it is unpacked: send a file with at least a header or one row")
    return unpacked


def _check_parquet(head: bytes, tail: bytes, size: int) -> None:
    if head.startswith(_ENCRYPTED_PARQUET_MAGIC):
        raise BadFile("the Parquet file is encrypted: write it without encryption and send it again")
    if not head.startswith(PARQUET_MAGIC):
        what = _named(head) or "perhaps CSV or JSON Lines"
        raise BadFile(f"the file is not Parquet but {what}; it was sent as parquet: name the right format")
    if tail != PARQUET_MAGIC or size < _MIN_PARQUET:
        raise BadFile("the Parquet file is cut off, its end is missing: write and send it again")


def _check_text(head: bytes, format_: Format) -> None:
    if head.startswith(PARQUET_MAGIC):
        raise BadFile(f"the file is Parquet but was sent as {format_}: name the right format")
    for name, magic in _PACKED.items():
        if head.startswith(magic):
            raise BadFile(f"the file is not {format_} but {name}: send it with compression {name}, or unpack it first")
    if named := _named(head):
        raise BadFile(f"the file is not {format_} but {named}")
    if format_ is Format.CSV and head.removeprefix(BOM).lstrip().startswith(b"{"):
        raise BadFile("the file looks like JSON Lines but was sent as csv: name the right format")
    if format_ is Format.JSONL and (document := _document(head.removeprefix(BOM).lstrip())):
        raise BadFile(f"the file is {document} of JSON, not JSON Lines: write each record as an object on a line of its own")


def _named(head: bytes) -> str | None:
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def _document(head: bytes) -> str | None:
    return next((name for name, start in _DOCUMENTS.items() if start.match(head)), None)
