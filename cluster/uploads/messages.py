"""What a client says before the first byte of a file, and what it hears while the file is worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.stores.ports import Upload


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """The first message of a transfer.

    `name` is for people: it never becomes a path. `format` is `csv`, `parquet` or `jsonl`; `size` is in bytes, `sha256`
    in hexadecimal. Left empty, `idempotency_key` is the source and the sha256, so that the same bytes are taken once
    for each source. `options` knows `delimiter` for CSV: one of `,` `;` `|` and tab.
    """

    name: str
    source: str
    format: str
    size: int
    sha256: str
    idempotency_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an upload got: its row in the `uploads` table, and what is not written there.

    `received` counts the bytes that arrived. `pieces_total` is None until the whole file was split.
    """

    upload: Upload
    received: int
    pieces_total: int | None
    pieces_done: int
