"""A text file block by block: each block starts with what the last one left over, and memory stays bounded."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from cluster.ingest.files.unpack import Source

#: How much of a record that is too long is kept for the quarantine.
KEPT_OF_TOO_LARGE = 1024
_MIN_READ = 64 * 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of a file; the receiver answers how many it used.

    `last` says that the file ends here. `too_large` means that the block is the start of one line longer than any
    record may be; the rest of that line was skipped.
    """

    data: bytes
    last: bool = False
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large blocks are, how large they may become, and the bytes that can end a line."""

    piece_bytes: int
    max_record_bytes: int
    line_ends: bytes


def blocks(file: Source, start: int, bounds: Bounds) -> Generator[Block, int, None]:
    """Yield the file from `start` on in blocks of about `piece_bytes`, and let go of it.

    The receiver sends the number of bytes that it used of each block; the rest comes again in front of the next. A
    block of which nothing is used grows up to the longest record with its line end; what is longer is `too_large`.
    """
    with file as handle:
        handle.skip(start)
        rest = b""
        while rest or not handle.at_end():
            data = rest + handle.read(max(bounds.piece_bytes - len(rest), min(_MIN_READ, bounds.piece_bytes), len(rest)))
            last = handle.at_end()
            used = yield Block(data, last)
            if last:
                return
            rest = data[used:]
            if used == 0 and len(data) > bounds.max_record_bytes + len(b"\r\n"):
                rest = _skip_line(handle, data, bounds.line_ends)
                yield Block(data[:KEPT_OF_TOO_LARGE], too_large=True)


def _skip_line(handle: Source, data: bytes, line_ends: bytes) -> bytes:
    """Read to the end of the line that `data` starts; return what came behind it."""
    while data:
        if ends := [at for end in line_ends if (at := data.find(end)) >= 0]:
            return data[min(ends) + 1 :]
        data = handle.read(1024 * 1024)
    return b""
