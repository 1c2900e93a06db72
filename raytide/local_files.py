"""Files on this machine: what kind they are, which ones a path means, and what must be said of one before it is sent."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

from featurestore.v1 import ingest_pb2

from cluster.errors import BadFile, Refused
from cluster.gateway.convert import FORMATS

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
PACKED_SUFFIXES = {".gz": "gzip", ".zst": "zstd"}
COMPRESSIONS = {
    "none": ingest_pb2.COMPRESSION_NONE,
    "gzip": ingest_pb2.COMPRESSION_GZIP,
    "zstd": ingest_pb2.COMPRESSION_ZSTD,
}
_GLOB = frozenset("*?[")


class FileOptions(TypedDict, total=False):
    """How a file is to be read, and when it fails as a whole. All can be left out, or None.

    `format` is csv, parquet or jsonl, and `compression` none, gzip or zstd; both by suffix when left out (`.csv.gz`,
    `.jsonl.zst`). `delimiter` is one of `,` `;` `|` and tab, `null` an unquoted text that stands for no value; files that
    are not CSV take no notice of these two. More rejected rows than `max_rejects`, or a larger share of them than
    `max_reject_share` (0 to 1), fail the file, and nothing of it is stored.
    """

    format: str | None
    compression: str | None
    delimiter: str | None
    null: str | None
    max_rejects: int | None
    max_reject_share: float | None


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it was when its checksum was taken. `identity` is what the file system changes when somebody writes."""

    path: Path
    header: ingest_pb2.UploadFileHeader
    identity: tuple[int, int]

    def read(self, stream: IO[bytes], length: int) -> bytes:
        """Return the next bytes of the opened file; raise BadFile when it is not the one that the header describes."""
        if _identity(stream) == self.identity and (found := stream.read(length)):
            return found
        raise BadFile(f"{self.path.name} changed while it was sent: nothing of it was stored; send it again")


def describe(path: Path, source: str, options: FileOptions, idempotency_key: str | None = None) -> LocalFile:
    """Return what the gateway has to know about a file, reading it once for its checksum.

    Without a key, one is made of source, name and content. Raise BadFile when the file cannot be read or its kind is not
    known, Refused for an option that makes no sense.
    """
    kind, compression = _kind(path, options)
    _check_limits(options)
    try:
        with path.open("rb") as stream:
            identity = _identity(stream)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read ({error.strerror}): nothing was sent") from error
    name = path.name.encode(errors="replace").decode()  # a name on disk may be no text at all
    reading = {"delimiter": options.get("delimiter"), "null": options.get("null")} if kind == "csv" else {}
    header = ingest_pb2.UploadFileHeader(
        name=name,
        source=source,
        format=FORMATS[kind],
        size=identity[0],
        sha256=digest,
        idempotency_key=idempotency_key or hashlib.sha256(f"{source}\n{name}\n{digest}".encode()).hexdigest(),
        options={name: text for name, text in reading.items() if text is not None},
        compression=COMPRESSIONS[compression],
        resume=True,
        max_rejects=options.get("max_rejects"),
        max_reject_share=options.get("max_reject_share"),
    )
    return LocalFile(path, header, identity)


def find(paths: Iterable[str], file_format: str | None = None) -> list[Path]:
    """Return the files that paths mean, each once: files, folders with all that is in them, and glob patterns.

    A file that is named is taken whatever its suffix. Of folders, and of patterns unless a format is named, only files of
    known suffixes are. Raise Refused for a path or pattern that means no file.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _meant(path, file_format):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def kind_of(path: Path) -> tuple[str, str]:
    """Return a file's format and compression by its suffixes; the format is empty when it is not known."""
    packed = PACKED_SUFFIXES.get(path.suffix.lower())
    inner = path.with_suffix("") if packed else path
    return SUFFIXES.get(inner.suffix.lower(), ""), packed or "none"


def _meant(path: str, file_format: str | None) -> Iterator[Path]:
    named = Path(path)
    if named.is_dir():
        files = [file for file in _below(named) if kind_of(file)[0]]
    elif named.is_file():
        files = [named]
    elif _GLOB.isdisjoint(path):
        raise Refused(f"there is no file or folder '{path}': correct the path, or quote a pattern such as 'data/*.csv'")
    else:
        matches = sorted(Path(match) for match in glob.glob(path, recursive=True))  # noqa: PTH207 - the pattern may be absolute
        files = [file for file in matches if file.is_file() and (file_format or kind_of(file)[0])]
    if not files:
        known = ", ".join(SUFFIXES)
        raise Refused(
            f"'{path}' holds no file to send: suffixes that are known are {known}, each also with .gz or .zst; name a "
            "file of another suffix itself, with --format"
        )
    yield from files


def _below(folder: Path) -> list[Path]:
    """Return the files in a folder and its folders, in order, without hidden ones."""
    inside = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _kind(path: Path, options: FileOptions) -> tuple[str, str]:
    by_suffix, packed_by_suffix = kind_of(path)
    kind, compression = options.get("format") or by_suffix, options.get("compression") or packed_by_suffix
    if kind not in FORMATS:
        named = options.get("format")
        wanted = f"format '{named}'" if named else f"suffix '{path.suffix}'"
        raise BadFile(f"{path.name}: {wanted} is not known: name the format, one of {', '.join(FORMATS)}")
    if compression not in COMPRESSIONS:
        raise BadFile(f"{path.name}: compression '{compression}' is not known: name one of {', '.join(COMPRESSIONS)}")
    return kind, compression


def _check_limits(options: FileOptions) -> None:
    most, share = options.get("max_rejects"), options.get("max_reject_share")
    if most is not None and most < 0:
        raise Refused(f"max_rejects is {most}: it is a number of rows, 0 or more")
    if share is not None and not 0 <= share <= 1:
        raise Refused(f"max_reject_share is {share}: it lies between 0 and 1")


def _identity(stream: IO[bytes]) -> tuple[int, int]:
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns
