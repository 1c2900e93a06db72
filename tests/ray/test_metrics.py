"""Metrics through a real Ray: names and labels arrive at its agent as docs/monitoring.md says."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest
import ray

from actors.metrics import RayMetrics
from cluster.monitoring import metrics as m

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(120)]


@ray.remote
class Measures:
    """A process that measures everything once."""

    def measure(self) -> None:
        metrics = RayMetrics()
        for metric in m.ALL:
            labels = [f"a-{label}" for label in metric.labels]
            if isinstance(metric, m.Counter):
                metrics.add(metric, 3, *labels)
                metrics.add(metric, 0, *labels)  # Ray refuses it, and it is nothing
            elif isinstance(metric, m.Gauge):
                metrics.set(metric, 4.0, *labels)
            else:
                metrics.observe(metric, metric.bounds[0], *labels)


def scraped() -> list[str]:
    """Return the lines of every node's agent."""
    temp = Path(ray._private.worker._global_node.get_temp_dir_path())
    nodes = json.loads((temp / "prom_metrics_service_discovery.json").read_text(encoding="utf-8"))
    found: list[str] = []
    for target in nodes[0]["targets"]:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
            found += answer.read().decode().splitlines()
    return [line for line in found if line.startswith("ray_raytide_")]


def line_of(metric: m.Counter | m.Gauge | m.Histogram, lines: list[str]) -> str:
    """Return the line with a metric's value, of a histogram that with its count; empty while there is none."""
    start = f"{metric.exported}_count{{" if isinstance(metric, m.Histogram) else f"{metric.exported}{{"
    return next((line for line in lines if line.startswith(start)), "")


def test_every_metric_arrives_under_its_name_with_its_labels() -> None:
    process = Measures.remote()  # type: ignore[attr-defined] # Ray adds it
    ray.get(process.measure.remote())
    deadline, lines = time.monotonic() + 90, scraped()
    while missing := [metric.name for metric in m.ALL if not line_of(metric, lines)]:
        assert time.monotonic() < deadline, f"these did not arrive: {missing}"
        time.sleep(0.5)
        lines = scraped()
    for metric in m.ALL:
        line, value = line_of(metric, lines), {m.Counter: 3.0, m.Gauge: 4.0, m.Histogram: 1.0}[type(metric)]
        assert all(f'{label}="a-{label}"' in line for label in metric.labels)
        assert float(line.rpartition(" ")[2]) == value
