"""The benchmark's own environment: confluent-kafka and what the plain loop needs, no dependencies of the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")


def ensure(folder: Path) -> Path:
    """Return the Python of the environment in `folder`, made from the hashed lock when it is missing or out of date."""
    python = folder / "bin" / "python"
    installed = folder / LOCK.name
    if installed.exists() and installed.read_bytes() == LOCK.read_bytes():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)  # noqa: S603 - our own command
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        LOCK,
    ]
    subprocess.run(pip, check=True)  # noqa: S603 - our own command
    installed.write_bytes(LOCK.read_bytes())
    return python
