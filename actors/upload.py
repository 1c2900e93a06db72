"""A file's pieces as Ray tasks: a bounded submit loop under the cluster-wide limit.

Each task decodes its piece, computes features and hands the rows to the writer itself; only counts come back. A task
whose worker died is run again, until it is plain that the piece is what kills it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from actors.clients import SlotClient, WriterClient
from actors.handles import translate
from cluster.config import Config
from cluster.errors import BadFile
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.split import Piece
from cluster.priority import give_way
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.stores.ports import Upload
from cluster.telemetry import set_up_logs
from cluster.uploads import PieceCounts, check_piece, run_piece

#: How long tasks of a file that was given up may take to end: none of them should meet its next attempt.
ENDING_SECONDS = 10.0

#: How often a piece is given to a worker before it counts as what killed them.
TRIES = 4


@ray.remote(num_cpus=1, max_retries=TRIES - 1)
def _piece(config: Config, definitions: bytes, version: int, upload: Upload, piece: Piece) -> PieceCounts:
    set_up_logs(config.telemetry, upload_id=upload.upload_id, piece=piece.number)
    give_way()
    catalog = loader.from_bytes(definitions).registered_as(version)
    return run_piece(catalog, config.ingest, WriterClient(), upload, piece)


@ray.remote(num_cpus=1, max_retries=TRIES - 1)
def _checked(config: Config, definitions: bytes, version: int, upload: Upload, piece: Piece) -> PieceCounts:
    set_up_logs(config.telemetry, upload_id=upload.upload_id, piece=piece.number)
    give_way()
    catalog = loader.from_bytes(definitions).registered_as(version)
    return check_piece(catalog, config.ingest, upload, piece)


@dataclass
class _Running:
    ref: Any
    slot: SlotClient
    rows: tuple[int, int]  # the first, and the one after the last

    def counts(self, upload: Upload) -> PieceCounts:
        """Return what the task returned; raise BadFile when its workers died, and what it raised."""
        try:
            counts: PieceCounts = ray.get(self.ref)
        except (WorkerCrashedError, OutOfMemoryError):
            raise deadly(upload, self.rows) from None
        except Exception as error:  # noqa: BLE001 - every error that Ray carries is translated
            raise translate(error, "an upload task") from None
        return counts


def deadly(upload: Upload, rows: tuple[int, int]) -> BadFile:
    """Return the error of a file with a piece that no worker survives; it is not tried again by itself."""
    return BadFile(
        f"file '{upload.name}' (upload {upload.upload_id}): the worker process died {TRIES} times out of {TRIES} at rows "
        f"{rows[0]} to {rows[1] - 1}: a feature function of source '{upload.source}' ends its process, is stuck outside of "
        "Python, or needs more memory than there is; mend it (`raytide apply`), or take these rows out, and send the file again"
    )


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
                slot = SlotClient(Claim(f"{self._holder}:{upload.upload_id}:{piece.number}", Kind.UPLOAD, upload.upload_id))
                yield from (ended.counts(upload) for ended in self._until_ours(slot, running))
                name = f"{verb}:{upload.upload_id}:{piece.number}"
                task = function.options(name=name, scheduling_strategy="SPREAD")  # over the nodes of a cluster
                ref = task.remote(self._config, definitions, catalog.version, upload, piece)
                running.append(_Running(ref, slot, (piece.first_row, piece.first_row + piece.rows)))
                if len(running) >= self._at_once:
                    yield self._take_one(running).counts(upload)
            while running:
                yield self._take_one(running).counts(upload)
        finally:
            for left in running:
                ray.cancel(left.ref)
            if running:
                ray.wait([left.ref for left in running], num_returns=len(running), timeout=ENDING_SECONDS, fetch_local=False)
            for left in running:
                left.slot.release()

    def _until_ours(self, slot: SlotClient, running: list[_Running]) -> Iterator[_Running]:
        """Wait for a slot, and yield pieces that end meanwhile: files that kept theirs would wait for each other."""
        asked = slot.ask()
        try:
            while (ready := self._first(running, asked)) is not asked:
                yield self._taken(ready, running)
            slot.take(asked)
        except BaseException:  # also the end of the generator: nobody would release what is granted later
            ray.cancel(asked)
            slot.release()
            raise

    def _take_one(self, running: list[_Running]) -> _Running:
        """Wait for any piece, and return it; meanwhile keep all slots."""
        return self._taken(self._first(running), running)

    def _first(self, running: list[_Running], *others: Any) -> Any:
        """Return the first reference to be ready, of the others before pieces; meanwhile keep all slots."""
        refs = [*others, *(task.ref for task in running)]
        while not (done := ray.wait(refs, num_returns=1, timeout=SlotClient.RENEW_SECONDS)[0]):
            for task in running:
                task.slot.renew()
        return next(ref for ref in refs if ref == done[0])

    def _taken(self, ref: Any, running: list[_Running]) -> _Running:
        """Take a piece that ended out of the running ones, and give its slot back."""
        ended = next(r for r in running if r.ref == ref)
        running.remove(ended)
        ended.slot.release()
        return ended
