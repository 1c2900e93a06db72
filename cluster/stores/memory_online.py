"""The online store's twin in memory: a dictionary and a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cluster.stores.memory_windows import MemoryWindowStore
from cluster.stores.ports import OnlineValues
from cluster.windows.panes import Pane
from cluster.windows.ports import CellsRead


class _Stored(NamedTuple):
    event: int
    created: int
    value: float | None


class MemoryOnlineStore:
    """Meets `OnlineStore` for tests and for a look around without a Redis."""

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, _Stored]] = {}
        self._marker: str | None = None
        self._lock = Lock()
        self.windows = MemoryWindowStore()

    def write(self, rows: pa.Table) -> int:
        """Let rows replace what is stored unless that is newer, one after the other."""
        names = ("entity_id", "feature_name", "value")
        entity, feature, value = (rows.column(name).to_pylist() for name in names)
        event, created = (rows.column(name).cast(pa.int64()).to_pylist() for name in ("event_timestamp", "created_at"))
        with self._lock:
            return sum(map(self._replace, entity, feature, map(_Stored, event, created, value)))

    def _replace(self, entity: str, feature: str, new: _Stored) -> bool:
        values = self._stored.setdefault(entity, {})
        old = values.get(feature)
        if old is not None and (old.event, old.created) > (new.event, new.created):
            return False
        values[feature] = new
        return True

    def read(self, entity_ids: Sequence[str], features: Sequence[str], silence_s: float | None = None) -> OnlineValues:  # noqa: ARG002 - never silent
        """Return what is stored for every pair."""
        with self._lock:
            stored = [self._stored.get(entity, {}).get(feature) for feature in features for entity in entity_ids]
        shape = (len(features), len(entity_ids))
        return OnlineValues(
            values=np.array([np.nan if s is None or s.value is None else s.value for s in stored], np.float64).reshape(shape),
            null=np.array([s is not None and s.value is None for s in stored], np.bool_).reshape(shape),
            found=np.array([s is not None for s in stored], np.bool_).reshape(shape),
            event_timestamps=np.array([0 if s is None else s.event for s in stored], np.int64).reshape(shape),
            created_at=np.array([0 if s is None else s.created for s in stored], np.int64).reshape(shape),
        )

    def read_with_windows(
        self, entity_ids: Sequence[str], features: Sequence[str], panes: Sequence[Pane], silence_s: float | None = None
    ) -> tuple[OnlineValues, CellsRead]:
        """Return what is stored for every pair, and all cells."""
        return self.read(entity_ids, features, silence_s), self.windows.read(panes, entity_ids, silence_s)

    def retract(self, rows: pa.Table) -> int:
        """Remove the values whose times are exactly those of the rows."""
        entity, feature = (rows.column(name).to_pylist() for name in ("entity_id", "feature_name"))
        event, created = (rows.column(name).cast(pa.int64()).to_pylist() for name in ("event_timestamp", "created_at"))
        with self._lock:
            return sum(map(self._remove, entity, feature, zip(event, created, strict=True)))

    def _remove(self, entity: str, feature: str, times: tuple[int, int]) -> bool:
        values = self._stored.get(entity, {})
        if feature not in values or values[feature][:2] != times:
            return False
        del values[feature]
        if not values:
            del self._stored[entity]
        return True

    def entities(self, batch: int = 1000) -> Iterator[list[str]]:
        """Return all entity ids."""
        with self._lock:
            left = iter(list(self._stored))
        while ids := list(islice(left, batch)):
            yield ids

    def marker(self) -> str | None:
        """Return the marker's text, or None when it was never set or is lost."""
        return self._marker

    def mark(self, text: str) -> None:
        """Set the marker, whatever it was."""
        self._marker = text

    def remark(self, old: str, new: str) -> bool:
        """Set the marker to `new` if it still is `old`; return whether it is `new` now."""
        with self._lock:
            if self._marker == old:
                self._marker = new
            return self._marker == new

    def clear(self) -> None:
        """Lose everything, as a Redis that was killed does; for tests."""
        with self._lock:
            self._stored, self._marker = {}, None

    def ping(self) -> None:
        """Return at once: there is nobody to reach."""

    def close(self) -> None:
        """Keep everything: there is no connection to let go of."""
