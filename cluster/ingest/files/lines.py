"""Where lines end in a block of bytes, found a block at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LF, CR = 10, 13

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spans:
    """Half-open byte ranges in a block, ascending: `starts[i]:stops[i]` is the text, `nexts[i]` is behind its line end."""

    starts: Offsets
    stops: Offsets
    nexts: Offsets

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self.starts)

    def where(self, mask: NDArray[np.bool_]) -> Spans:
        """Return the ranges at which `mask` holds."""
        return Spans(self.starts[mask], self.stops[mask], self.nexts[mask])

    def slice(self, first: int, last: int) -> Spans:
        """Return the ranges `[first, last)`."""
        return Spans(self.starts[first:last], self.stops[first:last], self.nexts[first:last])

    def text(self, block: bytes, index: int) -> bytes:
        """Return one range's bytes."""
        return block[self.starts[index] : self.stops[index]]


def lines(block: bytes, *, last: bool, lone_cr: bool) -> Spans:
    """Return the complete lines of `block`; the rest of the `last` block of a file is a line as well.

    Lines end with LF or CRLF and, with `lone_cr`, with a CR alone.
    """
    data = np.frombuffer(block, np.uint8)
    nexts = np.flatnonzero(data == LF) + 1
    has_cr = b"\r" in block
    if has_cr and lone_cr:
        nexts = np.union1d(nexts, _lone_crs(data, last=last) + 1)
    if last and len(block) > (nexts[-1] if len(nexts) else 0):
        nexts = np.append(nexts, len(block))
    starts = np.concatenate(([0], nexts[:-1])) if len(nexts) else nexts
    return Spans(starts, _stops(data, starts, nexts, has_cr=has_cr), nexts)


def _lone_crs(data: NDArray[np.uint8], *, last: bool) -> Offsets:
    crs = np.flatnonzero(data == CR)
    at_end = crs == len(data) - 1  # an LF may follow in the next block
    followed = data[np.minimum(crs + 1, len(data) - 1)] == LF
    alone: Offsets = crs[(at_end & last) | (~at_end & ~followed)]
    return alone


def _stops(data: NDArray[np.uint8], starts: Offsets, nexts: Offsets, *, has_cr: bool) -> Offsets:
    stops: Offsets = nexts - np.isin(data[nexts - 1], (LF, CR)) if len(nexts) else nexts
    if not has_cr:
        return stops
    crlf = (stops > starts) & (data[stops - 1] == CR) & (data[nexts - 1] == LF)
    stops -= crlf
    return stops
