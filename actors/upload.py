"""A file's pieces as Ray tasks: a bounded submit loop under the cluster-wide limit.

Each task decodes its piece, computes features and hands the rows to the writer itself; only counts come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from actors.clients import SlotClient, WriterClient
from actors.handles import value
from actors.priority import give_way
from cluster.config import Config
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.split import Piece
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.stores.ports import Upload
from cluster.telemetry import set_up_logs
from cluster.uploads import PieceCounts, check_piece, run_piece

#: How long tasks of a file that was given up may take to end: none of them should meet its next attempt.
ENDING_SECONDS = 10.0


@ray.remote(num_cpus=1, max_retries=3)
def _piece(config: Config, definitions: bytes, version: int, upload: Upload, piece: Piece) -> PieceCounts:
    set_up_logs(config.telemetry)
    give_way()
    catalog = loader.from_bytes(definitions).registered_as(version)
    return run_piece(catalog, config.ingest, WriterClient(), upload, piece)


@ray.remote(num_cpus=1, max_retries=3)
def _checked(config: Config, definitions: bytes, version: int, upload: Upload, piece: Piece) -> PieceCounts:
    set_up_logs(config.telemetry)
    catalog = loader.from_bytes(definitions).registered_as(version)
    return check_piece(catalog, config.ingest, upload, piece)


@dataclass
class _Running:
    ref: Any
    slot: SlotClient


class RayPieceRunner:
    """Meets PieceRunner. `holder` names the gateway, so that its slots can be freed when it is built anew."""

    def __init__(self, config: Config, holder: str) -> None:
        self._config, self._holder = ray.put(config), holder
        self._at_once = config.uploads.pieces_in_flight

    def run(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Run every piece, at most `pieces_in_flight` at once, and yield counts as they come."""
        return self._each(_piece, "upload", catalog, upload, pieces)

    def check(self, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]) -> Iterator[PieceCounts]:
        """Check every piece in the same way."""
        return self._each(_checked, "check", catalog, upload, pieces)

    def _each(
        self, function: Any, verb: str, catalog: Catalog, upload: Upload, pieces: Iterator[Piece]
    ) -> Iterator[PieceCounts]:
        running: list[_Running] = []
        definitions = ray.put(loader.to_bytes(catalog))  # once for all pieces
        try:
            for piece in pieces:
                slot = self._slot(upload.upload_id, piece.number)
                task = function.options(name=f"{verb}:{upload.upload_id}:{piece.number}")
                running.append(_Running(task.remote(self._config, definitions, catalog.version, upload, piece), slot))
                if len(running) >= self._at_once:
                    yield self._take_one(running)
            while running:
                yield self._take_one(running)
        finally:
            for left in running:
                ray.cancel(left.ref)
            if running:
                ray.wait([left.ref for left in running], num_returns=len(running), timeout=ENDING_SECONDS, fetch_local=False)
            for left in running:
                left.slot.release()

    def _slot(self, upload_id: str, number: int) -> SlotClient:
        slot = SlotClient(Claim(f"{self._holder}:{upload_id}:{number}", Kind.UPLOAD, upload_id))
        slot.hold()
        return slot

    def _take_one(self, running: list[_Running]) -> PieceCounts:
        """Wait for any piece; meanwhile keep all slots."""
        while True:
            done, _ = ray.wait([r.ref for r in running], num_returns=1, timeout=SlotClient.RENEW_SECONDS)
            if done:
                break
            for task in running:
                task.slot.renew()
        ended = next(r for r in running if r.ref == done[0])
        running.remove(ended)
        ended.slot.release()
        counts: PieceCounts = value(ended.ref, "an upload task")
        return counts
