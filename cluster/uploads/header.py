"""Is a file welcome? Decided by its header, before a byte of it was read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from cluster.errors import Refused
from cluster.ingest.split import Format
from cluster.registry.catalog import Catalog, near_matches
from cluster.stores.ports import Upload
from cluster.uploads.messages import UploadHeader

DELIMITERS = (",", ";", "|", "\t")
MAX_NAME = 255
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
    _check_options(header.options, Format(header.format))
    return replace(header, sha256=sha256, idempotency_key=key)


def check_same(header: UploadHeader, known: Upload) -> None:
    """Raise Refused when the header's key already stands for another file."""
    for field in ("sha256", "source", "format"):
        asked, found = getattr(header, field), getattr(known, field)
        if asked != found:
            raise Refused(f"idempotency_key: it stands for a file with {field} '{found}', not '{asked}': use another key")


def _check_options(options: Mapping[str, str], format_: Format) -> None:
    known = ["delimiter"] if format_ is Format.CSV else []
    for name, value in options.items():
        if name not in known:
            raise Refused(f"options: {format_} has no option '{name[:40]}'{near_matches(name, known)}")
        if value not in DELIMITERS:
            raise Refused("options: delimiter must be one of , ; | and tab")
