"""One running app for the stack tests, started and stopped as a user does, with ports and a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 180


@dataclass(frozen=True)
class RunningApp:
    """The `raytide` command in the app's working folder."""

    folder: Path

    def raytide(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb; fail with what it printed unless it exits 0 or `check` is off."""
        done = subprocess.run(
            [sys.executable, "-m", "cluster", *arguments],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def ask(self, *arguments: str) -> Any:
        """Run a verb with --json and return what it says."""
        return json.loads(self.raytide(*arguments, "--json").stdout)

    def remembered(self) -> Any:
        """Return what `.raytide/app.json` says."""
        return json.loads((self.folder / ".raytide" / "app.json").read_text(encoding="utf-8"))

    def verify(self, *, wait: float = 60) -> Any:
        """Prove everything; fail with the report otherwise."""
        return self.ask("verify", "--wait", str(wait))

    def version(self) -> int:
        """Return the version of the definitions in force."""
        return int(self.ask("status")["registry_version"])

    def up(self) -> None:
        """Start, or do nothing when it runs."""
        self.raytide("up", "--project", str(ROOT / "examples" / "demo"))

    def down(self) -> None:
        """Drain and stop everything."""
        self.raytide("down")


def environment() -> dict[str, str]:
    """Return ours with free ports, and without a Ray that somebody else may run."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYTIDE_"))}
    # A Ray address in the environment is somebody else's cluster: the app must not join it.
    return {
        **ours,
        "RAY_ADDRESS": "192.0.2.1:6379",
        "RAYTIDE_GATEWAY__PORT": "0",
        "RAYTIDE_RAY__DASHBOARD_PORT": "0",
        "RAYTIDE_RAY__NUM_CPUS": "2",
    }


@contextmanager
def running_app(folder: Path, kind: type[RunningApp] = RunningApp) -> Iterator[RunningApp]:
    """Start the demo project in a folder, and stop everything at the end."""
    running = kind(folder)
    running.raytide("stack", "up", "--kafka-port", "0", "--redis-port", "0")
    try:
        running.up()
        yield running
    finally:
        running.raytide("down", check=False)
        running.raytide("stack", "down", check=False)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """The demo project on a stack of its own, in a folder with a space in its name."""
    with running_app(tmp_path_factory.mktemp("a running app")) as running:
        yield running
