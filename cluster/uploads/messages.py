"""What a client says before the first byte of a file, and what it hears while the file is worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.stores.ports import Upload


@dataclass(frozen=True, slots=True)
class UploadHeader:
    """The first message of a transfer.

    `name` is for people: it never becomes a path. `format` is `csv`, `parquet` or `jsonl`, `compression` `none`, `gzip` or
    `zstd`; `size` is in bytes, `sha256` in hexadecimal, both of the bytes that are sent. Left empty, `idempotency_key` is
    the source and the sha256, so that the same bytes are taken once for each source. `options` knows `delimiter` and `null`
    for CSV. With `resume`, the chunks start at `received` of the first answer. More rejected rows than `max_rejects`, or a
    larger share than `max_reject_share`, fail the file as a whole.
    """

    name: str
    source: str
    format: str
    size: int
    sha256: str
    idempotency_key: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    compression: str = "none"
    resume: bool = False
    max_rejects: int | None = None
    max_reject_share: float | None = None


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an upload got: its row in the `uploads` table, and what is not written there.

    `received` counts the bytes that arrived. `pieces_total` is None until the whole file was split, `pieces_split` counts
    until then. `rows_validated` and `rows_rejected` are durable once the state is COMMITTED; `values_online` were offered
    to the online store.
    """

    upload: Upload
    received: int
    pieces_total: int | None
    pieces_done: int
    pieces_split: int = 0
    rows_validated: int = 0
    rows_rejected: int = 0
    values_online: int = 0


@dataclass(frozen=True, slots=True, order=True)
class RejectedRow:
    """A row that did not pass; `raw` is the start of its text, if that was asked for."""

    row: int
    reason: str
    detail: str
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """What is known so far of a file that is only checked; `error` says why it would be refused as a whole."""

    received: int
    rows: int = 0
    rejected: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[RejectedRow, ...] = ()
    done: bool = False
    error: str = ""
