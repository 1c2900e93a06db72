"""A file's bytes as the messages of one call, for gRPC to take from a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

from cluster.errors import BadFile
from cluster.gateway.arrow import CHUNK_BYTES
from raytide.local_files import LocalFile


class FileMessages:
    """The header at once, and chunks once `send_from` was called. `failure` says why a file could not be read to its end.

    `message` makes the call's messages, of `header` or `chunk`. Whoever reads the answers calls `close` in any case: gRPC's
    thread waits for it.
    """

    def __init__(self, file: LocalFile, message: Callable[..., Any]) -> None:
        self._file, self._message = file, message
        self._start: SimpleQueue[tuple[int, grpc.Call] | None] = SimpleQueue()
        self.failure: BadFile | None = None

    def send_from(self, offset: int, call: grpc.Call) -> None:
        """Let the chunks start at `offset`; `call` is cancelled if the file cannot be read."""
        self._start.put((offset, call))

    def close(self) -> None:
        """Send no more than is on its way; without chunks, the call's sending side ends."""
        self._start.put(None)

    def __iter__(self) -> Iterator[Any]:
        yield self._message(header=self._file.header)
        start = self._start.get()
        if start is None:
            return
        offset, call = start
        try:
            for chunk in self._chunks(offset):
                yield self._message(chunk=chunk)
        except (OSError, BadFile) as error:
            self.failure = error if isinstance(error, BadFile) else self._unreadable(error)
            call.cancel()  # an end without a word would tell the gateway that this was all

    def _chunks(self, offset: int) -> Iterator[bytes]:
        """Yield the bytes from `offset`; raise BadFile at the first sign of another writer, OSError from reading."""
        with self._file.path.open("rb") as stream:
            stream.seek(offset)
            while (left := self._file.header.size - offset) > 0:
                chunk = self._file.read(stream, min(CHUNK_BYTES, left))
                offset += len(chunk)
                yield chunk

    def _unreadable(self, error: OSError) -> BadFile:
        return BadFile(f"{self._file.header.name} cannot be read any more ({error.strerror}): the transfer was broken off")
