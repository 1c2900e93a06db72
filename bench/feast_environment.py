"""Feast in an environment of its own, from the package registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGES = ("feast[duckdb,grpcio,redis]==0.67.0",)


def ensure(folder: Path) -> Path | None:
    """Return the Python of the environment in `folder`, made when it is missing; None, and say why, when it cannot be."""
    python, installed = folder / "bin" / "python", folder / "packages"
    wanted = "\n".join(PACKAGES)
    if installed.exists() and installed.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)  # noqa: S603 - our own command
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        print(f"Feast cannot be installed here: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    installed.write_text(wanted, encoding="utf-8")
    return python
