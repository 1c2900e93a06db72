"""Keeps the cells of windows online as history has them: what was committed is added up, what is in doubt computed again.

The online store says which row of the ledger its cells hold, and history says what came after it (stores/duckdb_windows.py).
A step adds that to the cells, or puts them there whole, and moves the mark. If it broke off anywhere, or somebody cannot know
that it did not, the next step computes every cell whole that it could have touched: doing that again is harmless, adding is
not. An online store that was emptied, or is older than the mark, is treated alike.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cluster.errors import RetryLater
from cluster.faults import Point, reach
from cluster.windows.panes import Pane
from cluster.windows.partials import Layout, Partials
from cluster.windows.ports import PaneCells, Since, WindowHistory, WindowStore

_LOST = "somebody else looks after the cells of windows, or the online store lost them: they are computed again"


@dataclass(frozen=True, slots=True)
class WindowReport:
    """How far the cells are: the row of the ledger that they hold, of `end`, or the pages that were filled, of how many."""

    row: int | None = None
    end: int | None = None
    pages_done: int = 0
    pages_total: int = 0

    @property
    def to_go(self) -> int:
        """Return how many rows of the ledger the cells lack."""
        return 0 if self.row is None or self.end is None else self.end - self.row


class Publisher:
    """Caller: one thread of the only one of its kind. A second one takes the claim, and this one stops at its next step.

    `panes` are those of the definitions in force, None while nobody knows them.
    """

    def __init__(
        self,
        history: WindowHistory,
        store: WindowStore,
        panes: Callable[[], Sequence[Pane] | None],
        now_us: Callable[[], int],
    ) -> None:
        self._history, self._store, self._panes, self._now_us = history, store, panes, now_us
        self._claim = ""
        self._ready: frozenset[str] = frozenset()
        self._since: Since | None = None
        self._next_us: int | None = None
        self._in_doubt = True
        self.report = WindowReport()

    def look(self) -> None:
        """Bring the cells to where history is. Raise RetryLater when either store is away: the next look starts afresh."""
        panes = self._panes()
        if not panes:
            self.report = WindowReport()
            return
        try:
            if not self._is_mine():
                self._begin()
            # Filled from nothing where nobody knows what is there, or nothing is.
            unknown = self._since is None
            if missing := [pane for pane in panes if unknown or pane.name not in self._ready]:
                for pane in missing:
                    self._store.clear(pane)
                self._fill(missing, afresh=unknown)
            if {pane.name for pane in panes} != self._ready:
                self._check(self._store.ready(self._claim, panes))
                self._ready = frozenset(pane.name for pane in panes)
            self._catch_up(panes)
        except BaseException:
            self._claim, self._in_doubt = "", True
            raise

    def _is_mine(self) -> bool:
        """Answer whether the cells are as this publisher left them: the store may have been emptied, or be an older copy."""
        since = self._since
        return bool(self._claim) and since is not None and self._store.held(self._claim) == (since.row, since.until_us)

    def _begin(self) -> None:
        self._claim = uuid.uuid4().hex
        state = self._store.claim(self._claim)
        self._ready, self._in_doubt = state.panes, True
        self._since = None if state.row is None else Since(state.row, state.until_us)

    def _fill(self, panes: Sequence[Pane], *, afresh: bool) -> None:
        """Write all cells of some panes, `afresh` if these are all.

        Later pages hold more of the ledger than the first, so everything since then is in doubt afterwards.
        """
        now_us = self._now_us()
        pages = self._history.window_ranges(panes)
        first: int | None = None
        for number, (above, up_to) in enumerate(pages):
            self.report = WindowReport(pages_done=number, pages_total=len(pages))
            page = self._history.window_page(panes, above, up_to, now_us)
            first = page.row if first is None else first
            for pane in panes:
                cells = _by_entity(pane, page.entities[pane.name], page.cells[pane.name])
                self._check(self._store.replace(self._claim, pane, cells))
        if afresh and first is not None:
            self._move(Since(first, now_us))
        self._in_doubt = True

    def _catch_up(self, panes: Sequence[Pane]) -> None:
        now_us = self._now_us()
        since = self._known()
        is_due = self._next_us is not None and self._next_us <= now_us
        found = self._history.window_changes(panes, since, now_us, whole=self._in_doubt or is_due)
        if found.is_too_much:
            self._fill(panes, afresh=True)
            return
        if found.cells:
            reach(Point.WINDOWS_COMPUTED)
            for pane in panes:
                self._apply(pane, found.cells[pane.name], now_us, is_whole=found.is_whole)
            reach(Point.WINDOWS_PUT)
            self._move(Since(found.row, now_us))
            self._next_us = _earliest(found.next_us, None if found.is_whole else self._next_us)
        # Whole cells are those of the end: what lies between would be added to them a second time.
        self._in_doubt = found.is_whole and found.row < found.end
        self.report = WindowReport(found.row, found.end)

    def _known(self) -> Since:
        if self._since is None:
            raise RetryLater(_LOST)
        return self._since

    def _apply(self, pane: Pane, table: pa.Table, now_us: int, *, is_whole: bool) -> None:
        if not len(table):
            return
        layout = Layout.of(pane.functions)
        entities, numbers = table["entity_id"].to_pylist(), table["cell"].to_pylist()
        if is_whole:
            cells = _or_nothing(layout, table)
        else:
            added = Partials.from_table(layout, table)
            stored = self._store.cells(pane, entities, numbers)
            cells = _added(layout, stored, added)
        self._check(self._store.put(self._claim, PaneCells(pane, entities, numbers, cells), pane.oldest(now_us)))

    def _move(self, to: Since) -> None:
        before = None if self._since is None else self._since.row
        self._check(self._store.move(self._claim, before, to.row, to.until_us))
        self._since = to

    @staticmethod
    def _check(done: bool) -> None:  # noqa: FBT001 - what a step returned
        if not done:
            raise RetryLater(_LOST)


def _or_nothing(layout: Layout, table: pa.Table) -> list[bytes]:
    """Return each cell's bytes, none for a cell of which nothing is left."""
    there = table["n"].is_valid()
    packed = iter(Partials.from_table(layout, table.filter(there)).pack())
    return [next(packed) if is_there else b"" for is_there in there.to_pylist()]


def _added(layout: Layout, stored: Sequence[bytes | None], added: Partials) -> list[bytes]:
    """Return the bytes of cells after something was added."""
    known = [number for number, cell in enumerate(stored) if cell]
    if not known:
        return added.pack()
    cells = Partials.unpack(layout, [cell for cell in stored if cell])
    group = np.concatenate([np.array(known, np.int64), np.arange(len(added))])
    return cells.joined(added).combined(group, len(added)).pack()


def _by_entity(pane: Pane, entities: Sequence[str], table: pa.Table) -> dict[str, list[tuple[int, bytes]]]:
    """Return all cells of each entity, of those too that have none."""
    found: dict[str, list[tuple[int, bytes]]] = {entity: [] for entity in entities}
    packed = Partials.from_table(Layout.of(pane.functions), table).pack()
    for entity, number, cell in zip(table["entity_id"].to_pylist(), table["cell"].to_pylist(), packed, strict=True):
        found.setdefault(entity, []).append((number, cell))
    return found


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)
