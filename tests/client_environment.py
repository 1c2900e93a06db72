"""An environment with what `pip install raytide` brings, and nothing of what runs the app: made of links to what is here."""

from __future__ import annotations

import os
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def client_environment(folder: Path) -> dict[str, str]:
    """Link the client's packages into `folder`; return the variables with which `python -S` finds these and our code."""
    for name in needed_by_a_client():
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(str(distribution.locate_file(top)))
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY"))}
    return {**ours, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT, ROOT / "proto")))}


def python(*arguments: str) -> list[str]:
    """Return a command that sees no packages but those of PYTHONPATH."""
    return [sys.executable, "-S", *arguments]


def needed_by_a_client() -> set[str]:
    """Return the packages that our declared dependencies lead to, without extras of ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[tuple[str, str]] = set()
    waiting = _wanted(project["dependencies"], "")
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            waiting += _wanted(metadata.requires(name) or [], extra)
    return {name for name, _ in found}


def _wanted(lines: list[str], extra: str) -> list[tuple[str, str]]:
    """Return the packages, each with nothing and with each extra that is asked of it, that apply on this machine."""
    requirements = [Requirement(line) for line in lines]
    applying = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": extra})]
    return [(r.name, asked) for r in applying for asked in ("", *r.extras)]
