"""One piece of a file from bytes to the file's transaction, wherever it runs; or only what would become of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow.compute as pc

from cluster.clock import now_us
from cluster.config import IngestConfig
from cluster.faults import Point, reach
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.pipeline import Outcome, Raw, to_outcome
from cluster.ingest.split import Piece
from cluster.ingest.transform import compile_transform
from cluster.records import Origin
from cluster.registry.catalog import Catalog
from cluster.stores.ports import OfflineStore, Upload
from cluster.uploads.messages import RejectedRow

#: Rejected rows of a piece that come back with its counts, and how much of the text of each.
EXAMPLES, RAW_BYTES = 20, 1024


@dataclass(frozen=True, slots=True)
class PieceCounts:
    """What became of a piece's rows: how many passed and did not, why, and the first of those that did not."""

    number: int
    events: int
    rejected: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[RejectedRow, ...] = ()


class PieceRunner(Protocol):
    """Runs a file's pieces somewhere. Caller: a thread of the upload service for each file."""

    def run(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Run `run_piece` for each piece, a bounded number at once, and yield its counts when it is appended.

        Pieces are taken from `pieces` only as there is room. When the caller stops iterating, what runs is cancelled
        or ends by itself. Raise what a piece raised.
        """

    def check(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Do the same with `check_piece`, which stores nothing."""


class LocalPieceRunner:
    """Runs pieces one after the other in the calling thread."""

    def __init__(self, ingest: IngestConfig, offline: OfflineStore) -> None:
        self._ingest, self._offline = ingest, offline

    def run(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Run each piece when it is asked for."""
        for piece in pieces:
            yield run_piece(catalog, self._ingest, self._offline, upload, piece)

    def check(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Check each piece when it is asked for."""
        for piece in pieces:
            yield check_piece(catalog, self._ingest, upload, piece)


def run_piece(catalog: Catalog, ingest: IngestConfig, offline: OfflineStore, upload: Upload, piece: Piece) -> PieceCounts:
    """Decode a piece, compute its features and append them to the file's transaction.

    Harmless to repeat. Raise RetryLater or Refused when the writer does not take it, Misconfigured for definitions
    that do not compile; never for data.
    """
    outcome = _computed(catalog, ingest, upload, piece)
    reach(Point.PIECE_COMPUTED)
    span = (piece.first_row, piece.first_row + piece.rows)
    origin = Origin.upload(upload.upload_id, catalog.version)
    offline.append_upload(upload.upload_id, piece.number, outcome.batch(origin, 0, span))
    reach(Point.PIECE_APPENDED)
    return _counts(piece, outcome)


def check_piece(catalog: Catalog, ingest: IngestConfig, upload: Upload, piece: Piece) -> PieceCounts:
    """Decode a piece and compute its features, for the counts alone; raise Misconfigured."""
    return _counts(piece, _computed(catalog, ingest, upload, piece))


def _computed(catalog: Catalog, ingest: IngestConfig, upload: Upload, piece: Piece) -> Outcome:
    decode = compile_file_decoder(catalog.source(upload.source), catalog, ingest, piece.format)
    decoded = decode(piece, upload.created_at, now_us())

    def raw(position: int) -> Raw:
        return decoded.raw(position), None, decoded.around, upload.created_at

    transform = compile_transform(catalog, upload.source, ingest.transform_timeout_s)
    return to_outcome(transform, decoded.events, decoded.rejected, raw)


def _counts(piece: Piece, outcome: Outcome) -> PieceCounts:
    rejects = outcome.rejects
    if not len(rejects):
        return PieceCounts(piece.number, outcome.events, 0)
    reasons = {pair["values"]: pair["counts"] for pair in pc.value_counts(rejects["reason"]).to_pylist()}
    first = rejects.slice(0, EXAMPLES).select(["position", "reason", "detail", "payload"]).to_pylist()
    examples = tuple(RejectedRow(r["position"], r["reason"], r["detail"], (r["payload"] or b"")[:RAW_BYTES]) for r in first)
    return PieceCounts(piece.number, outcome.events, len(rejects), reasons, examples)
