"""A real Prometheus for tests: the programs of Debian's package, or a reason for skipping."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.stack.process import HOST, free_port


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skip the test when there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH: install it with `apt-get install prometheus`")
    return found


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Return the values of an expression by the values of its labels, in the order of their names."""
        found = self._get("query", query=expression)["result"]
        return {tuple(value for _, value in sorted(one["metric"].items())): float(one["value"][1]) for one in found}

    def firing(self) -> set[str]:
        """Return the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"}

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).close()  # noqa: S310 - ours
        except OSError:
            return False
        return True

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - ours
            return json.load(answer)["data"]


@contextmanager
def prometheus(config: Path, folder: Path) -> Iterator[Prometheus]:
    """Run a server with this configuration and its data under `folder`."""
    port = free_port()
    command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        running = subprocess.Popen([*command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log, cwd=folder)
    try:
        yield Prometheus(f"http://{HOST}:{port}")
    finally:
        running.terminate()
        running.wait(30)
