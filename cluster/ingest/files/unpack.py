"""The bytes of a file as a stream, unpacked on the way when it is packed. Memory holds what is asked for, never the file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import pyarrow as pa

from cluster.errors import BadFile
from cluster.ingest.files.piece import Compression, SplitOptions

_SKIP_BYTES = 1024 * 1024


class Source(Protocol):
    """Bytes that are read once, from the first to the last; a context that lets go of the file. Caller: one thread."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of the file."""

    def read(self, size: int, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end; raise BadFile when they cannot be unpacked."""

    def skip(self, size: int, /) -> None:
        """Leave out the next `size` bytes."""

    def at_end(self) -> bool:
        """Return True when there are no more bytes."""


def opened(file: Path, options: SplitOptions) -> Source:
    """Return the bytes of `file` as its sender had them before they were packed."""
    if options.compression is Compression.NONE:
        return _Plain(file)
    return _Packed(file, options.compression, options.max_unpacked_bytes)


class _Plain:
    """Meets Source."""

    def __init__(self, file: Path) -> None:
        self._file: BinaryIO = file.open("rb")
        self._size = self._file.seek(0, 2)
        self._file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """See Source."""
        return self._file.read(size)

    def skip(self, size: int, /) -> None:
        """See Source."""
        self._file.seek(size, 1)

    def at_end(self) -> bool:
        """See Source."""
        return self._file.tell() >= self._size


class _Packed:
    """Meets Source. Arrow reads all members of a gzip file and all frames of a Zstandard file."""

    def __init__(self, file: Path, compression: Compression, most: int) -> None:
        self._compression, self._most, self._unpacked = compression, most, 0
        self._file = pa.OSFile(str(file))
        self._stream = pa.CompressedInputStream(self._file, str(compression))
        self._ahead = self._next(1)  # an end shows only when reading beyond it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """See Source."""
        data = self._ahead[:size] + self._next(size - len(self._ahead)) if size else b""
        self._ahead = self._next(1) if size else self._ahead
        return data

    def skip(self, size: int, /) -> None:
        """See Source."""
        while size > 0 and (data := self.read(min(size, _SKIP_BYTES))):
            size -= len(data)

    def at_end(self) -> bool:
        """See Source."""
        return not self._ahead

    def _next(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read(max(0, size))
        except (OSError, pa.ArrowException) as error:
            what = "is cut off" if "runcated" in str(error) else "is damaged"
            raise BadFile(f"the {self._compression} file {what} and cannot be unpacked: pack it and send it again") from error
        self._unpacked += len(data)
        if self._unpacked > self._most:
            raise BadFile(
                f"the file unpacks to more than {self._most} bytes (uploads.max_bytes): split the file, or raise the limit",
            )
        return data
