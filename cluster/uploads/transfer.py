"""Bytes from a client to the spool, with an end to waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator

from cluster.errors import BadFile, RetryLater
from cluster.faults import Point, reach
from cluster.uploads.job import Job
from cluster.uploads.messages import UploadHeader, UploadProgress
from cluster.uploads.spool import Incoming

_WAITING_CHUNKS = 8
_PROGRESS_BYTES = 4 * 1024 * 1024


def receive(job: Job, header: UploadHeader, chunks: Iterator[bytes], incoming: Incoming) -> Iterator[UploadProgress]:
    """Write chunks until they end, and yield progress now and then.

    Raise BadFile when more or other bytes come than the header announced.
    """
    told = 0
    yield job.progress
    for chunk in chunks:
        incoming.write(chunk)
        if incoming.received > header.size:
            raise BadFile(f"size: {header.size} bytes were announced but more arrived: send the file again")
        job.received(incoming.received)
        reach(Point.RECEIVING)
        if incoming.received - told >= _PROGRESS_BYTES:
            told = incoming.received
            yield job.progress
    incoming.complete(header.size, header.sha256)
    reach(Point.SPOOLED)


def arriving(chunks: Iterable[bytes], idle_timeout_s: float) -> Iterator[bytes]:
    """Pass chunks on; raise RetryLater when none comes in time or the sender breaks off.

    A gRPC stream cannot be read with a time limit, so a thread of its own reads it. That thread ends with the stream:
    the server ends it when the handler returns.
    """
    arrived: queue.Queue[bytes | BaseException | None] = queue.Queue(_WAITING_CHUNKS)
    abandoned = threading.Event()
    threading.Thread(target=_read, args=(chunks, arrived, abandoned), name="upload-reader", daemon=True).start()
    try:
        while (item := _next(arrived, idle_timeout_s)) is not None:
            yield item
    finally:
        abandoned.set()
        while not arrived.empty():  # so that a reader which waits for room goes on, and sees that nobody listens
            arrived.get_nowait()


def _next(arrived: queue.Queue[bytes | BaseException | None], timeout_s: float) -> bytes | None:
    try:
        item = arrived.get(timeout=timeout_s)
    except queue.Empty:
        raise RetryLater(
            f"nothing came for {timeout_s:g} s (uploads.idle_timeout_s): send the file again under the same key"
        ) from None
    if isinstance(item, BaseException):
        raise RetryLater("the transfer broke off: send the file again under the same key") from item
    return item


def _read(chunks: Iterable[bytes], arrived: queue.Queue[bytes | BaseException | None], abandoned: threading.Event) -> None:
    try:
        for chunk in chunks:
            arrived.put(chunk)
            if abandoned.is_set():
                return
        arrived.put(None)
    except Exception as error:  # noqa: BLE001 - whatever a client library raises, the receiver has to know
        arrived.put(error)
