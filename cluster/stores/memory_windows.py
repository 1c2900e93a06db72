"""The twin of the cells of windows in memory: dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.windows.panes import Pane
from cluster.windows.ports import CellsRead, PaneCells, WindowState


class MemoryWindowStore:
    """Meets `WindowStore` for tests."""

    def __init__(self) -> None:
        self._claim: str | None = None
        self._state = WindowState(None, 0, frozenset())
        self._cells: dict[tuple[str, str], dict[int, bytes]] = {}

    def claim(self, claim: str) -> WindowState:
        """Take the cells from whoever held them."""
        self._claim = claim
        return self._state

    def state(self) -> WindowState:
        """Return what the cells hold."""
        return self._state

    def held(self, claim: str) -> tuple[int, int] | None:
        """Return what the cells hold."""
        row, until_us = self._state.row, self._state.until_us
        return None if row is None or claim != self._claim else (row, until_us)

    def cells(self, pane: Pane, entities: Sequence[str], numbers: Sequence[int]) -> list[bytes | None]:
        """Return some cells."""
        return [self._cells.get((pane.name, e), {}).get(n) for e, n in zip(entities, numbers, strict=True)]

    def put(self, claim: str, found: PaneCells, oldest: int) -> bool:
        """Put cells, or take out those without bytes."""
        if claim != self._claim:
            return False
        for entity, number, cell in zip(found.entities, found.numbers, found.cells, strict=True):
            key = found.pane.name, entity
            known = self._cells.get(key, {}) | {number: cell}
            self._cells[key] = {n: c for n, c in known.items() if c and n >= oldest}
        return True

    def replace(self, claim: str, pane: Pane, cells: dict[str, list[tuple[int, bytes]]]) -> bool:
        """Put all cells of entities in the place of those that they had."""
        if claim != self._claim:
            return False
        self._cells.update({(pane.name, entity): dict(found) for entity, found in cells.items()})
        return True

    def clear(self, pane: Pane) -> None:
        """Forget all cells of a pane."""
        self._cells = {key: cells for key, cells in self._cells.items() if key[0] != pane.name}

    def forget(self) -> None:
        """Forget what the cells hold."""
        self._claim, self._state = None, WindowState(None, 0, frozenset())

    def move(self, claim: str, before: int | None, row: int, until_us: int) -> bool:
        """Say that the cells hold the ledger up to `row`."""
        if claim != self._claim or self._state.row not in (before, row):
            return False
        self._state = WindowState(row, until_us, self._state.panes)
        return True

    def ready(self, claim: str, panes: Sequence[Pane]) -> bool:
        """Say which panes can be read."""
        if claim != self._claim:
            return False
        self._state = WindowState(self._state.row, self._state.until_us, frozenset(pane.name for pane in panes))
        return True

    def read(self, panes: Sequence[Pane], entity_ids: Sequence[str], silence_s: float | None = None) -> CellsRead:  # noqa: ARG002 - never silent
        """Return all cells of some entities."""
        missing = [pane for pane in panes if pane.name not in self._state.panes]
        found = [[self._cells.get((pane.name, entity), {}) for entity in entity_ids] for pane in panes]
        return CellsRead(missing, [[(list(c), list(c.values())) for c in of_pane] for of_pane in found])
