"""The port for metrics met by Ray, which carries them to each node's agent; Prometheus asks that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.util import metrics as theirs

from cluster.monitoring.metrics import Counter, Gauge, Histogram, Metric


class RayMetrics:
    """Meets Metrics. A call costs some microseconds. Values arrive in Prometheus within about twenty seconds."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def add(self, counter: Counter, amount: float, *labels: str) -> None:
        """See Metrics."""
        if amount > 0:
            self._of(counter).inc(amount, _tags(counter, labels))

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """See Metrics."""
        self._of(gauge).set(value, _tags(gauge, labels))

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """See Metrics."""
        self._of(histogram).observe(value, _tags(histogram, labels))

    def _of(self, metric: Metric) -> Any:
        if (made := self._made.get(metric.name)) is None:
            made = self._made[metric.name] = _make(metric)
        return made


def _make(metric: Metric) -> Any:
    common = {"name": metric.name, "description": metric.meaning, "tag_keys": metric.labels}
    if isinstance(metric, Histogram):
        return theirs.Histogram(boundaries=list(metric.bounds), **common)
    return theirs.Counter(**common) if isinstance(metric, Counter) else theirs.Gauge(**common)


def _tags(metric: Metric, labels: Sequence[str]) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
