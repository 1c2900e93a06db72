"""Metrics in memory: the twin for tests."""

from __future__ import annotations

import threading
from collections import defaultdict

from cluster.monitoring.metrics import Counter, Gauge, Histogram, Metric

Key = tuple[str, ...]


class MemoryMetrics:
    """Meets Metrics; keys are a metric's name and the values of its labels. Raises ValueError for labels that do not fit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counted: defaultdict[Key, float] = defaultdict(float)
        self.gauges: dict[Key, float] = {}
        self.observed: defaultdict[Key, list[float]] = defaultdict(list)

    def add(self, counter: Counter, amount: float, *labels: str) -> None:
        """See Metrics."""
        if amount:
            with self._lock:
                self.counted[_key(counter, labels)] += amount

    def set(self, gauge: Gauge, value: float, *labels: str) -> None:
        """See Metrics."""
        self.gauges[_key(gauge, labels)] = value

    def observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        """See Metrics."""
        with self._lock:
            self.observed[_key(histogram, labels)].append(value)


def _key(metric: Metric, labels: tuple[str, ...]) -> Key:
    if len(labels) != len(metric.labels) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
    return (metric.name, *labels)
