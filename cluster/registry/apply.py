"""Putting definitions in force: compare, refuse what would lose data, and keep the rest as a new version."""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.registry.evolution import check_compatible
from cluster.registry.plan import Change, compare
from cluster.registry.versions import in_force
from cluster.stores.ports import Definitions


class Registry(Protocol):
    """Where versions are kept. Caller: one thread."""

    def query(self, sql: str) -> pa.Table:
        """Return the rows of a query of ours."""

    def register(self, definitions: Definitions) -> int:
        """See OfflineStore."""

    def shipped(self, version: int) -> bytes:
        """See OfflineStore."""

    def behind(self, version: int) -> tuple[str, ...]:
        """Wait a while until every partition computes with `version`; return one sentence for each that does not yet."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The version in force, and what it changed."""

    version: int
    changes: tuple[Change, ...]


def put_in_force(registry: Registry, catalog: Catalog, comment: str = "") -> Applied:
    """Register a catalog; the one in force again changes nothing. Raise Misconfigured when it cannot follow that one."""
    before, after = in_force(registry.query), catalog.describe()
    check_compatible(before, after)
    definitions = Definitions(catalog.content_hash, after, loader.to_bytes(catalog), getpass.getuser(), comment)
    return Applied(registry.register(definitions), tuple(compare(before, after)))
