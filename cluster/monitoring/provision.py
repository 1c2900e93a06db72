"""Puts what Prometheus and Grafana need beside the app's state, with this app's paths in it.

Ray writes its own dashboards into the same folder (cluster.ray_head), so that one Grafana shows both.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

FOLDER = "monitoring"
#: Where Ray keeps the list of nodes, in its temp folder; and that of a Ray that is not ours.
DISCOVERY, RAY_TEMP = "prom_metrics_service_discovery.json", Path("/tmp/ray")  # noqa: S108 - Ray's, not ours

#: File of this package -> where it goes.
_PLACES = {
    "prometheus.yml": "prometheus.yml",
    "alerts.yml": "alerts.yml",
    "grafana/grafana.ini": "grafana/grafana.ini",
    "grafana/datasource.yml": "grafana/provisioning/datasources/raytide.yml",
    "grafana/dashboards.yml": "grafana/provisioning/dashboards/raytide.yml",
    "grafana/raytide.json": "grafana/dashboards/raytide.json",
}


def dashboards(state: Path) -> Path:
    """Return where Grafana's dashboards are, below the app's state folder."""
    return state / FOLDER / "grafana" / "dashboards"


def provision(state: Path, ray_temp: Path) -> Path:
    """Write everything anew below `state`, for a Ray with its temp folder at `ray_temp`; return the folder."""
    folder = state.resolve() / FOLDER
    paths = {
        "@DASHBOARDS@": str(dashboards(state.resolve())),
        "@PROVISIONING@": str(folder / "grafana" / "provisioning"),
    }
    for name, place in _PLACES.items():
        text = files("cluster.monitoring").joinpath(name).read_text(encoding="utf-8")
        for mark, path in paths.items():
            text = text.replace(mark, path)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="utf-8")
    _link(folder / "nodes.json", ray_temp / DISCOVERY)
    return folder


def _link(path: Path, target: Path) -> None:
    """Let `path` lead to `target`, in one step: Prometheus may be reading it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
