"""The versions of the definitions that were in force, as the `registry_versions` table has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from cluster.errors import NotFound
from cluster.registry.plan import EMPTY, Description

#: Runs a query of ours and returns its rows: the writer, the gateway's client, or a reader of the file.
Query = Callable[[str], pa.Table]

_LIST = "SELECT version, applied_at, applied_by, comment, content_hash FROM registry_versions ORDER BY version"
_OF = "SELECT definition::VARCHAR AS definition FROM registry_versions"
_ONE = f"{_OF} WHERE version = {{version}}"
_NEWEST = f"{_OF} ORDER BY version DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Version:
    """One version: who applied it when (UTC), with which comment. `content_hash` is equal for equal definitions."""

    version: int
    applied_at: datetime
    applied_by: str
    comment: str
    content_hash: str


def versions(query: Query) -> list[Version]:
    """Return every version, the oldest first."""
    return [Version(**row) for row in query(_LIST).to_pylist()]


def description_of(query: Query, version: int) -> Description:
    """Return a version's definitions as plain data; raise NotFound when there is none."""
    found = query(_ONE.format(version=int(version))).to_pylist()
    if not found:
        raise NotFound(f"there is no registry version {version}: see `raytide registry versions`")
    return _parsed(found[0])


def in_force(query: Query) -> Description:
    """Return the newest version's definitions; nothing at all when nothing was applied yet."""
    found = query(_NEWEST).to_pylist()
    return _parsed(found[0]) if found else EMPTY


def _parsed(row: dict[str, Any]) -> Description:
    parsed: Description = json.loads(row["definition"])
    return parsed
