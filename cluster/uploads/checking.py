"""A file that is only checked: it goes the way of an upload, and nothing of it is stored or kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from cluster.errors import BadFile
from cluster.ingest.split import Format, Piece, split
from cluster.stores.ports import Upload
from cluster.uploads.incoming import Incoming
from cluster.uploads.manifest import Manifest, split_options
from cluster.uploads.messages import CheckProgress, UploadHeader
from cluster.uploads.pieces import EXAMPLES
from cluster.uploads.processing import Parts, Stopping
from cluster.uploads.rejects import Tally
from cluster.uploads.transfer import Transfer, arriving, write_all

_PROGRESS_BYTES = 4 * 1024 * 1024


class Checker:
    """Caller: the threads of the calls that bring files. `make_room(size)` raises RetryLater when there is none."""

    def __init__(self, parts: Parts, idle_timeout_s: float, make_room: Callable[[int], None], stop: threading.Event) -> None:
        self._parts, self._idle_timeout_s, self._make_room, self._stop = parts, idle_timeout_s, make_room, stop

    def check(self, upload: Upload, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[CheckProgress]:
        """Receive a file and yield what would become of its rows, the last answer with `done`. `upload` is never stored.

        What is wrong with the file as a whole is in `error`; raise as a transfer does, or what a piece raises.
        """
        yield CheckProgress(0)
        self._make_room(header.size)
        with self._parts.spool.checked() as (part, file):
            with closing(Transfer(Incoming(part, file, self._make_room, {}), lambda: None)) as transfer:
                yield from self._received(header, chunks, transfer)
            yield from self._judged(upload, header, file)

    def _received(self, header: UploadHeader, chunks: Iterable[bytes], transfer: Transfer) -> Iterator[CheckProgress]:
        told = 0
        transfer.catch_up()
        for received in write_all(transfer, header.size, arriving(chunks, self._idle_timeout_s)):
            if received - told >= _PROGRESS_BYTES:
                told = received
                yield CheckProgress(received)
        transfer.complete(header.size, header.sha256)

    def _judged(self, upload: Upload, header: UploadHeader, file: Path) -> Iterator[CheckProgress]:
        catalog, manifest, tally, error = self._parts.catalog(), Manifest.of(header), Tally(EXAMPLES), ""

        def known(*, done: bool = False) -> CheckProgress:
            return CheckProgress(
                header.size, tally.events, tally.rejected, dict(tally.reasons), tally.examples, done=done, error=error
            )

        try:
            pieces = split(file, Format(header.format), split_options(catalog, manifest, self._parts.bounds))
            for counts in self._parts.runner.check(catalog, upload, self._while_running(pieces)):
                tally.add(counts)
                yield known()
            manifest.limits.check_so_far(tally)
            manifest.limits.check_all(tally)
        except BadFile as refused:
            error = str(refused)
        yield known(done=True)

    def _while_running(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self._stop.is_set():
                raise Stopping("the gateway is stopping: check the file again when it is back")
            yield piece
