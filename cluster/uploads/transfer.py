"""Bytes from a client to the spool, with an end to waiting."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from cluster.errors import BadFile, RetryLater
from cluster.uploads.incoming import Incoming

_WAITING_CHUNKS = 8

Arrived = bytes | BaseException | None
Inbox = queue.Queue[Arrived]


class BrokenOff(RetryLater):
    """Somebody else ended the transfer, and saw to everything that this means for the upload."""


class Transfer:
    """One client's bytes on their way into a file. Whoever comes first ends it; after that nothing more is written.

    The thread that writes may be stuck in a connection that died, so another can end the transfer in its place.
    """

    def __init__(self, incoming: Incoming, ended: Callable[[], None]) -> None:
        self.inbox: Inbox = queue.Queue(_WAITING_CHUNKS)
        self._incoming, self._ended = incoming, ended
        self._lock = threading.Lock()
        self._over = False
        self._error: BrokenOff | None = None

    @property
    def received(self) -> int:
        """Return how many bytes of the file are there."""
        return self._incoming.received

    def catch_up(self) -> None:
        """See Incoming."""
        with self._lock:
            self._check_on()
            self._incoming.catch_up()

    def write(self, chunk: bytes) -> None:
        """Add a chunk; raise NoRoom when the disk is full, or what the transfer was broken off with."""
        with self._lock:
            self._check_on()
            self._incoming.write(chunk)

    def complete(self, size: int, sha256: str) -> None:
        """End it well; raise BadFile when these are not the bytes that were announced."""
        with self._lock:
            self._check_on()
            self._incoming.complete(size, sha256)
            self._end()

    def close(self) -> None:
        """Keep what arrived, if it is not over already."""
        with self._lock:
            if not self._over:
                self._end()

    def break_off(self, error: BrokenOff) -> bool:
        """End it, keep what arrived, and let whoever writes raise `error`; return False when it was over already."""
        with self._lock:
            if self._over:
                return False
            self._error = error
            self._end()
        with contextlib.suppress(queue.Full):  # nobody waits at a full queue
            self.inbox.put_nowait(error)
        return True

    def _check_on(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        self._over = True
        self._incoming.close()
        self._ended()


def write_all(transfer: Transfer, size: int, chunks: Iterable[bytes]) -> Iterator[int]:
    """Write chunks, and yield how much of the file is there after each; raise BadFile when there are more than announced."""
    for chunk in chunks:
        if transfer.received + len(chunk) > size:
            raise BadFile(f"size: {size} bytes were announced but more arrived: send the file again")
        transfer.write(chunk)
        yield transfer.received


def arriving(chunks: Iterable[bytes], idle_timeout_s: float, inbox: Inbox | None = None) -> Iterator[bytes]:
    """Pass chunks on; raise RetryLater when none comes in time or the sender breaks off, or what is put into `inbox`.

    A gRPC stream cannot be read with a time limit, so a thread of its own reads it. That thread ends with the stream:
    the server ends it when the handler returns.
    """
    arrived: Inbox = inbox or queue.Queue(_WAITING_CHUNKS)
    abandoned = threading.Event()
    threading.Thread(target=_read, args=(chunks, arrived, abandoned), name="upload-reader", daemon=True).start()
    try:
        while (item := _next(arrived, idle_timeout_s)) is not None:
            yield item
    finally:
        abandoned.set()
        while not arrived.empty():  # so that a reader which waits for room goes on, and sees that nobody listens
            arrived.get_nowait()


def _next(arrived: Inbox, timeout_s: float) -> bytes | None:
    try:
        item = arrived.get(timeout=timeout_s)
    except queue.Empty:
        raise RetryLater(
            f"nothing came for {timeout_s:g} s (uploads.idle_timeout_s): send the file again under the same key"
        ) from None
    if isinstance(item, Broken):
        raise RetryLater("the transfer broke off: send the file again under the same key") from item.cause
    if isinstance(item, BaseException):
        raise item
    return item


class Broken(Exception):
    """What the stream of chunks raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


def _read(chunks: Iterable[bytes], arrived: Inbox, abandoned: threading.Event) -> None:
    try:
        for chunk in chunks:
            arrived.put(chunk)
            if abandoned.is_set():
                return
        arrived.put(None)
    except Exception as error:  # noqa: BLE001 - whatever a client library raises, the receiver has to know
        arrived.put(Broken(error))
