"""What every way to read the newest values shares: names looked up once, bounds, and a time within the caller's."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc
import numpy as np

from cluster.clock import now_us
from cluster.config import GatewayConfig
from cluster.errors import OverLimit, RaytideError, Refused
from cluster.gateway.backend import ReadingBackend
from cluster.gateway.failures import AtFault, argument
from cluster.gateway.names import Names, wanted
from cluster.monitoring.metrics import NO_METRICS, ONLINE_READ_SECONDS, ONLINE_VALUES, Metrics
from cluster.registry.catalog import Catalog
from cluster.serving.online import STATUSES, At, OnlineAnswer, OnlineFeatureSet
from cluster.windows.panes import panes_of

#: Lists of names whose meaning is kept; the same few are asked for over and over.
KEPT_LISTS = 1_000
#: The part of the caller's time that Redis may use; the rest is for saying that it did not answer.
SHARE_OF_DEADLINE = 0.8
ANSWERED, FAILED = "answered", "failed"


class OnlineReads:
    """Reads Redis for the services of the gateway, from any number of threads. Ray has no part in it."""

    def __init__(self, config: GatewayConfig, backend: ReadingBackend, metrics: Metrics = NO_METRICS) -> None:
        self._config, self._backend, self._metrics = config, backend, metrics
        self._known: tuple[Catalog, dict[Names, OnlineFeatureSet]] = (backend.catalog(), {})

    def features(self, names: Names) -> tuple[OnlineFeatureSet, int]:
        """Return what `names` mean, and the version of the definitions that says so.

        Raise AtFault for an unknown name, and for a feature that is not kept online.
        """
        catalog, known = self._looked_up()
        found = known.get(names)
        if found is None:
            with argument("features"):
                found = OnlineFeatureSet.of(wanted(catalog, names), panes_of(catalog))
            if len(known) >= KEPT_LISTS:
                known.clear()
            known[names] = found
        return found, catalog.version

    def read(self, features: OnlineFeatureSet, entity_ids: Sequence[str], context: grpc.ServicerContext) -> OnlineAnswer:
        """Return the newest values, and what windows hold, in one round trip to Redis.

        Raise AtFault over a bound, Unreachable without Redis, before the caller's deadline.
        """
        self._check_bounds(len(entity_ids), features)
        silence_s = min(self._config.online_timeout_ms / 1000, context.time_remaining() * SHARE_OF_DEADLINE)
        began = time.perf_counter()
        try:
            answer = self._answer(features, entity_ids, silence_s)
        except RaytideError:
            self._metrics.observe(ONLINE_READ_SECONDS, time.perf_counter() - began, FAILED)
            raise
        self._measure(answer, time.perf_counter() - began)
        return answer

    def _answer(self, features: OnlineFeatureSet, entity_ids: Sequence[str], silence_s: float) -> OnlineAnswer:
        online = self._backend.online
        windows = features.windows
        if not windows.specs:
            return features.judge(online.read(entity_ids, features.stored, silence_s), now_us())
        stored, cells = online.read_with_windows(entity_ids, features.stored, windows.panes, silence_s)
        at = At(now_us(), self._backend.function_seconds)
        return features.complete(features.judge(stored, at.now_us), windows.values(cells, at.now_us), at)

    def _measure(self, answer: OnlineAnswer, took_s: float) -> None:
        self._metrics.observe(ONLINE_READ_SECONDS, took_s, ANSWERED)
        for status, count in zip(STATUSES, np.bincount(answer.statuses.ravel(), minlength=len(STATUSES) + 1)[1:], strict=True):
            self._metrics.add(ONLINE_VALUES, int(count), status)

    def _looked_up(self) -> tuple[Catalog, dict[Names, OnlineFeatureSet]]:
        catalog = self._backend.catalog()
        if self._known[0] is not catalog:
            self._known = (catalog, {})
        return self._known

    def _check_bounds(self, entities: int, asked: OnlineFeatureSet) -> None:
        features, cells = len(asked.names), asked.windows.most_cells
        if entities == 0:
            raise AtFault("entity_ids", Refused("the list is empty: name at least one entity"))
        if entities > (limit := self._config.max_entities):
            raise AtFault(
                "entity_ids",
                OverLimit(
                    f"{entities:,} entities, but one call may name {limit:,}: ask in parts, or raise gateway.max_entities"
                ),
            )
        if entities * features > (limit := self._config.max_values):
            raise AtFault(
                "entity_ids",
                OverLimit(
                    f"{entities:,} entities with {features:,} features are {entities * features:,} values, but one call may "
                    f"ask for {limit:,}: ask in parts, or raise gateway.max_values"
                ),
            )
        if entities * cells > (limit := self._config.max_cells):
            raise AtFault(
                "entity_ids",
                OverLimit(
                    f"{entities:,} entities with windows of {cells:,} cells are {entities * cells:,} cells, but one call may "
                    f"look at {limit:,}: ask in parts, or raise gateway.max_cells"
                ),
            )
