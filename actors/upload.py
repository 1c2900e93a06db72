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
from cluster.app import App
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.split import Piece
from cluster.telemetry import set_up_logs
from cluster.uploads import PieceCounts, run_piece


@ray.remote(num_cpus=1, max_retries=3)
def _piece(app: App, upload_id: str, source: str, piece: Piece, created_us: int) -> PieceCounts:
    set_up_logs(app.config.telemetry)
    return run_piece(app.catalog(), app.config.ingest, WriterClient(), upload_id, source, piece, created_us)


@dataclass
class _Running:
    ref: Any
    slot: SlotClient


class RayPieceRunner:
    """Meets PieceRunner. `holder` names the gateway, so that its slots can be freed when it is built anew."""

    def __init__(self, app: App, holder: str) -> None:
        self._app, self._holder = ray.put(app), holder
        self._at_once = app.config.uploads.pieces_in_flight

    def run(self, upload_id: str, source: str, pieces: Iterator[Piece], created_us: int) -> Iterator[PieceCounts]:
        """Run every piece, at most `pieces_in_flight` at once, and yield counts as they come."""
        running: list[_Running] = []
        try:
            for piece in pieces:
                slot = self._slot(upload_id, piece.number)
                task = _piece.options(name=f"upload:{upload_id}:{piece.number}")
                running.append(_Running(task.remote(self._app, upload_id, source, piece, created_us), slot))
                if len(running) >= self._at_once:
                    yield self._take_one(running)
            while running:
                yield self._take_one(running)
        finally:
            for left in running:
                ray.cancel(left.ref)
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
