"""Windows online against windows from history, at the instant that the online ones are of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from cluster.errors import RetryLater
from cluster.registry.aggregation import Function
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.serving.asof import TIME, Terms
from cluster.serving.online_windows import WindowSet
from cluster.verify.report import Check, Reads, rows
from cluster.windows.panes import inputs_of, panes_of
from cluster.windows.ports import WindowStore

#: Entities that are compared unless all are.
SAMPLE = 1_000
_AT_ONCE = 1_000
#: Partial results add up in another order than events do.
_CLOSE = {Function.SUM, Function.MEAN, Function.STD}
_RELATIVE, _NEARLY_NOTHING = 1e-9, 1e-9
_ENTITIES = "SELECT DISTINCT entity_id FROM features WHERE feature_name IN (SELECT unnest(?::VARCHAR[])) ORDER BY entity_id"

Historical: TypeAlias = Callable[[pa.Table, Sequence[FeatureSpec], Terms], pa.Table]


@dataclass(frozen=True, slots=True)
class Windows:
    """What the comparison needs: the cells, a historical join, and how many entities are looked at; None means all."""

    store: WindowStore
    historical: Historical
    sample: int | None = SAMPLE


def check(reads: Reads, windows: Windows, catalog: Catalog, pauses: Iterable[None]) -> Check | None:
    """Compare all aggregations that are kept online; None where there are none."""
    panes = panes_of(catalog)
    specs = [spec for spec in catalog.features.values() if spec.online and spec.aggregation]
    if not panes:
        return None
    entities = _chosen(reads, inputs_of(panes), windows.sample)
    wrong: dict[str, str] = {}
    comparison = _Comparison(windows, specs, WindowSet.of(specs, panes))
    for start in range(0, len(entities), _AT_ONCE):
        wrong |= comparison.settled(entities[start : start + _AT_ONCE], pauses)
    return Check.of("windows online are those of history", len(entities) * len(specs), list(wrong.values()))


def _chosen(reads: Reads, features: Sequence[str], sample: int | None) -> list[str]:
    known = [row["entity_id"] for row in rows(reads, _ENTITIES, [list(features)])]
    return known if sample is None or len(known) <= sample else random.sample(known, sample)


@dataclass(frozen=True, slots=True)
class _Comparison:
    windows: Windows
    specs: Sequence[FeatureSpec]
    wanted: WindowSet

    def settled(self, entities: Sequence[str], pauses: Iterable[None]) -> dict[str, str]:
        """Return what is wrong, by entity, of those that never agreed. Cells are changed while they are read: ask again."""
        left = dict.fromkeys(entities, "its windows could not be read")
        for _ in pauses:
            try:
                left = self._different(list(left))
            except RetryLater as error:
                left = dict.fromkeys(left, str(error))
            if not left:
                break
        return {entity: f"{entity}: {why}" for entity, why in left.items()}

    def _different(self, entities: Sequence[str]) -> dict[str, str]:
        state = self.windows.store.state()
        if state.row is None:
            raise RetryLater("windows are being computed from history")
        read = self.windows.store.read(self.wanted.panes, entities)
        if self.windows.store.state() != state:
            raise RetryLater("windows changed while they were read")
        online = self.wanted.values(read, state.until_us).tolist()
        asked = pa.table(
            {self.specs[0].join_key: entities, TIME: pa.array([state.until_us] * len(entities), pa.timestamp("us"))}
        )
        history = self.windows.historical(asked, self.specs, Terms(ledger_row=state.row))
        found: dict[str, str] = {}
        for spec, values in zip(self.wanted.specs, online, strict=True):
            for entity, value, wanted in zip(entities, values, history[spec.name].to_pylist(), strict=True):
                if not _same(spec, value, wanted):
                    found[entity] = f"{spec.name} is {value} online, {wanted} in history, at {state.until_us} µs"
        return found


def _same(spec: FeatureSpec, value: float, wanted: float | None) -> bool:
    if wanted is None or math.isnan(value):
        return wanted is None and math.isnan(value)
    if spec.aggregation and spec.aggregation.function in _CLOSE:
        return math.isclose(value, wanted, rel_tol=_RELATIVE, abs_tol=_NEARLY_NOTHING)
    return value == wanted
