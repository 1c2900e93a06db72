"""Rows of a piece on their way to validation: columns, and which rows fell out before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.ingest.files.piece import Piece
from cluster.ingest.parsed import RowFault
from cluster.records import Reason


class RawRow(Protocol):
    """Looks up what came in, for the quarantine; good rows never pay for it."""

    def __call__(self, position: int, /) -> bytes:
        """Return the row with this row number as bytes that a person can read."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a reader made of a piece's payload.

    `columns` are typed as `Parsed` asks and have one entry for each of `positions`; `faults` are the other rows, each
    with its row number in place of an index.
    """

    positions: NDArray[np.int64]
    columns: Mapping[str, pa.Array]
    faults: list[RowFault]
    raw: RawRow


class Reader(Protocol):
    """Reads the payloads of one format for one source. Keeps no state."""

    def __call__(self, piece: Piece, /) -> Rows:
        """Return the rows of `piece`; never raises for data."""


class WrongTypes:
    """The rows that have a value of the wrong type, each with the first column at fault."""

    def __init__(self, positions: NDArray[np.int64]) -> None:
        self._positions = positions
        self._wrong = np.zeros(len(positions), np.bool_)
        self.faults: list[RowFault] = []

    def mark(self, wrong: NDArray[np.bool_] | None, reason: Reason, detail: str) -> None:
        """Give the rows of `wrong` that have no fault yet this one."""
        if wrong is None:
            return
        new = wrong & ~self._wrong
        self.faults += [(position, reason, detail) for position in self._positions[new].tolist()]
        self._wrong |= new

    def good(self, columns: Mapping[str, pa.Array]) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
        """Return positions and columns of the rows without a fault."""
        if not self.faults:
            return self._positions, dict(columns)
        keep = pa.array(~self._wrong)
        return self._positions[~self._wrong], {name: column.filter(keep) for name, column in columns.items()}
