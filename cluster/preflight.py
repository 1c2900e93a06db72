"""What `raytide up` looks at before it starts anything, so that a slip in the configuration is said within seconds."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.errors import Misconfigured


def check_writable(database: Path) -> None:
    """Raise Misconfigured unless the DuckDB file, or a new one in its folder, can be written; make the folder."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(database, str(error.strerror)) from error
    target = database if database.exists() else database.parent
    if not os.access(target, os.W_OK):
        raise _refusal(database, f"no right to write {target}")


def _refusal(database: Path, cause: str) -> Misconfigured:
    return Misconfigured(f"offline_store.path {database} cannot be written ({cause}): name a file in a writable folder")
