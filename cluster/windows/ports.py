"""What windows online need from the outside: history, and the store of their cells. See cluster/stores/ports.py for errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:  # panes are made of aggregations, whose package needs the other ports
    from cluster.windows.panes import Pane


@dataclass(frozen=True, slots=True)
class WindowState:
    """What the cells of windows hold: the ledger up to `row` (None: nobody knows), of that the events up to `until_us`.

    `panes` are the names of those that can be read.
    """

    row: int | None
    until_us: int
    panes: frozenset[str]


@dataclass(frozen=True, slots=True)
class PaneCells:
    """Some cells of a pane: entity, number and bytes of each; no bytes stand for a cell of which nothing is left."""

    pane: Pane
    entities: Sequence[str]
    numbers: Sequence[int]
    cells: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CellsRead:
    """Numbers and bytes of an entity's cells, `[pane][entity]`; what stands under a pane of `missing` means nothing."""

    missing: Sequence[Pane]
    cells: Sequence[Sequence[tuple[Sequence[int], Sequence[bytes]]]]


@dataclass(frozen=True, slots=True)
class Since:
    """What the cells hold already: the ledger up to `row`, and of that the events up to the time `until_us`."""

    row: int
    until_us: int


@dataclass(frozen=True, slots=True)
class WindowChanges:
    """What the cells have to learn so that they hold the ledger up to `row`; it goes on to `end`.

    `cells` has a table for each pane with `entity_id`, `cell` and the columns of its layout: what is to be added or, if
    `is_whole`, what is to be put there, `n` null where nothing is left. `next_us` is when the next event that lies in the
    future will count. `is_too_much` has none of it: everything is to be computed again.
    """

    row: int
    end: int
    is_whole: bool = False
    is_too_much: bool = False
    cells: Mapping[str, pa.Table] = field(default_factory=dict)
    next_us: int | None = None


@dataclass(frozen=True, slots=True)
class WindowPage:
    """All cells of some entities, by pane, as of the ledger up to `row`; `entities` may include some that have no cell."""

    row: int
    cells: Mapping[str, pa.Table]
    entities: Mapping[str, list[str]]


class WindowHistory(Protocol):
    """What of history belongs in the cells of windows. Raises RetryLater. Caller: whoever keeps the cells, one thread."""

    def window_changes(self, panes: Sequence[Pane], since: Since, now_us: int, *, whole: bool) -> WindowChanges:
        """Return what happened after `since`, for cells of now; `whole` if some may have been added to already."""

    def window_page(self, panes: Sequence[Pane], above: str, up_to: str | None, now_us: int) -> WindowPage:
        """Return all cells of the entities in `(above, up_to]`; None has no upper bound."""

    def window_ranges(self, panes: Sequence[Pane]) -> list[tuple[str, str | None]]:
        """Return bounds (above, up to) that cut all entities into pages."""


class WindowStore(Protocol):
    """The cells of windows (cluster/windows), written by one caller, who holds the claim, and read by any."""

    def claim(self, claim: str) -> WindowState:
        """Take the cells from whoever held them, and return what they hold."""

    def state(self) -> WindowState:
        """Return what the cells hold, whoever keeps them."""

    def held(self, claim: str) -> tuple[int, int] | None:
        """Return `row` and `until_us` of the state, None without a row or when the claim is somebody else's."""

    def cells(self, pane: Pane, entities: Sequence[str], numbers: Sequence[int]) -> list[bytes | None]:
        """Return some cells, None for one that is not there."""

    def put(self, claim: str, found: PaneCells, oldest: int) -> bool:
        """Put cells, or take out those without bytes; False when the claim is somebody else's, and something may be undone.

        Cells before `oldest` may be taken out too.
        """

    def replace(self, claim: str, pane: Pane, cells: dict[str, list[tuple[int, bytes]]]) -> bool:
        """Put all cells of entities in the place of those that they had, each entity in one step; False as in `put`."""

    def clear(self, pane: Pane) -> None:
        """Forget all cells of a pane."""

    def forget(self) -> None:
        """Forget what the cells hold: whoever keeps them fills them again."""

    def move(self, claim: str, before: int | None, row: int, until_us: int) -> bool:
        """Say that the cells hold the ledger up to `row`; False when they do not hold `before`, or the claim is gone."""

    def ready(self, claim: str, panes: Sequence[Pane]) -> bool:
        """Say which panes can be read from now on, and no others; False when the claim is somebody else's."""

    def read(self, panes: Sequence[Pane], entity_ids: Sequence[str], silence_s: float | None = None) -> CellsRead:
        """Return all cells of some entities, in one round trip."""
