"""Transfers into the spool: a bounded number at once, each within its room, going on where the last one stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cluster.config import UploadsConfig
from cluster.errors import RetryLater
from cluster.faults import Point, reach
from cluster.uploads.incoming import Incoming
from cluster.uploads.job import Job
from cluster.uploads.manifest import Manifest
from cluster.uploads.messages import UploadHeader, UploadProgress
from cluster.uploads.spool import Spool
from cluster.uploads.transfer import Transfer, arriving, write_all

_PROGRESS_BYTES = 4 * 1024 * 1024


class Receiver:
    """Caller: the threads of the calls that bring files. `make_room(size)` raises RetryLater when there is none."""

    def __init__(self, config: UploadsConfig, spool: Spool, make_room: Callable[[int], None]) -> None:
        self._config, self._spool, self._make_room = config, spool, make_room
        self._slots = threading.BoundedSemaphore(config.concurrent)

    def receive(self, job: Job, header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[UploadProgress]:
        """Receive a file whole, and yield progress now and then, first before a chunk is asked for.

        What arrived stays in the spool whatever happens. Raise BadFile when the bytes are not those that were announced,
        RetryLater when there is no slot or no room, or the sender broke off, BrokenOff when somebody else ended it,
        Cancelled when nobody wants it any more.
        """
        self._take_slot()
        transfer = None
        try:
            incoming = self._begin(job.upload.upload_id, header)
            transfer = Transfer(incoming, self._slots.release)
        finally:
            if transfer is None:
                self._slots.release()
        try:
            yield from self._received(job, header, chunks, transfer)
        finally:
            transfer.close()
            job.receives(None)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count as a transfer."""
        self._take_slot()
        try:
            yield
        finally:
            self._slots.release()

    def _take_slot(self) -> None:
        if not self._slots.acquire(blocking=False):
            raise RetryLater(
                f"{self._config.concurrent} files are being received already (uploads.concurrent): send the file later",
            )

    def _begin(self, upload_id: str, header: UploadHeader) -> Incoming:
        there = self._spool.size(upload_id) if header.resume and self._spool.has_part(upload_id) else 0
        self._make_room(max(0, header.size - there))
        incoming = self._spool.receive(upload_id, Manifest.of(header), self._make_room)
        if not header.resume or incoming.received > header.size:
            incoming.restart()
        return incoming

    def _received(
        self, job: Job, header: UploadHeader, chunks: Iterable[bytes], transfer: Transfer
    ) -> Iterator[UploadProgress]:
        job.received(transfer.received)
        job.receives(transfer)
        told = transfer.received
        yield job.progress
        transfer.catch_up()
        for received in write_all(transfer, header.size, arriving(chunks, self._config.idle_timeout_s, transfer.inbox)):
            job.received(received)
            reach(Point.RECEIVING)
            if received - told >= _PROGRESS_BYTES:
                told = received
                yield job.progress
        transfer.complete(header.size, header.sha256)
        reach(Point.SPOOLED)
