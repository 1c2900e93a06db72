"""Is a file welcome? Decided by its header, before a byte of it was read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from cluster.errors import Refused
from cluster.ingest.split import Compression, Format
from cluster.registry.catalog import Catalog, near_matches
from cluster.stores.ports import Upload
from cluster.uploads.messages import UploadHeader

DELIMITERS = (",", ";", "|", "\t")
MAX_NAME, MAX_NULL = 255, 40
_SHA256 = re.compile("[0-9a-f]{64}")


def checked(header: UploadHeader, catalog: Catalog, max_bytes: int) -> UploadHeader:
    """Return the header with its defaults filled in; raise Refused or NotFound naming the field at fault."""
    catalog.source(header.source)
    sha256 = header.sha256.lower()
    key = header.idempotency_key or f"{header.source}:{sha256}"
    for field, text in (("name", header.name), ("idempotency_key", key)):
        if not 0 < len(text) <= MAX_NAME or not text.isprintable():
            raise Refused(f"{field}: must be 1 to {MAX_NAME} printable characters")
    if header.format not in list(Format):
        raise Refused(f"format: '{header.format[:20]}' is not known{near_matches(header.format, list(Format))}")
    if not 0 <= header.size <= max_bytes:
        raise Refused(f"size: must be 0 to {max_bytes} bytes (uploads.max_bytes): split the file, or raise the limit")
    if not _SHA256.fullmatch(sha256):
        raise Refused("sha256: must be 64 hexadecimal digits, the checksum of the file's bytes")
    _check_compression(header.compression, header.format)
    _check_options(header.options, header.format)
    _check_limits(header)
    return replace(header, sha256=sha256, idempotency_key=key)


def check_same(header: UploadHeader, known: Upload) -> None:
    """Raise Refused when the header's key already stands for another file."""
    for field in ("sha256", "source", "format"):
        asked, found = getattr(header, field), getattr(known, field)
        if asked != found:
            raise Refused(f"idempotency_key: it stands for a file with {field} '{found}', not '{asked}': use another key")


def _check_compression(compression: str, format_: str) -> None:
    if compression not in list(Compression):
        raise Refused(f"compression: '{compression[:20]}' is not known{near_matches(compression, list(Compression))}")
    if format_ == Format.PARQUET and compression != Compression.NONE:
        raise Refused(f"compression: Parquet packs its columns itself: unpack the {compression} and send the Parquet file")


def _check_options(options: Mapping[str, str], format_: str) -> None:
    known = ["delimiter", "null"] if format_ == Format.CSV else []
    for name in options:
        if name not in known:
            raise Refused(f"options: {format_} has no option '{name[:40]}'{near_matches(name, known)}")
    delimiter, null = options.get("delimiter", ","), options.get("null", "NULL")
    if delimiter not in DELIMITERS:
        raise Refused("options: delimiter must be one of , ; | and tab")
    if not 0 < len(null) <= MAX_NULL or not null.isprintable() or '"' in null or delimiter in null:
        raise Refused(f"options: null must be 1 to {MAX_NULL} printable characters, without quotes and the delimiter")


def _check_limits(header: UploadHeader) -> None:
    if header.max_rejects is not None and header.max_rejects < 0:
        raise Refused("max_rejects: must be 0 or more rows; leave it out for no limit")
    if header.max_reject_share is not None and not 0 <= header.max_reject_share <= 1:
        raise Refused("max_reject_share: must lie between 0 and 1; leave it out for no limit")
