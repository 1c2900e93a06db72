"""What verify finds: checks with counts and the first offenders as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pyarrow as pa

#: Offenders that a check shows; it counts them all.
SHOWN = 10


class Reads(Protocol):
    """What verify needs of the offline store: plain queries, so that it can run in another process than the writer."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Return all rows of a query; each call may see a later moment of the database."""


@dataclass(frozen=True, slots=True)
class Check:
    """How many things were looked at, how many are wrong, and the first of these."""

    name: str
    checked: int
    offenders: int
    examples: tuple[str, ...]

    @classmethod
    def of(cls, name: str, checked: int, offenders: Sequence[str]) -> Check:
        """Return a check with all its offenders at hand."""
        return cls(name, checked, len(offenders), tuple(offenders[:SHOWN]))


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far a partition was read. `end` and `behind` are None when Kafka was not asked or does not know it."""

    topic: str
    partition: int
    first: int
    next: int
    end: int | None
    behind: int | None


@dataclass(frozen=True, slots=True)
class Declared:
    """Offsets `[first, next)` that somebody gave up, by whom, when and why.

    `next` and `offsets` are None where nobody can know how many there were: the topic is gone.
    """

    topic: str
    partition: int
    incarnation: int
    first: int
    next: int | None
    offsets: int | None
    reason: str
    declared_by: str
    declared_at_us: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was checked. Being behind Kafka is told, not an offence; so is loss that was declared."""

    checks: tuple[Check, ...]
    partitions: tuple[PartitionState, ...]
    declared: tuple[Declared, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether nothing is wrong."""
        return not any(check.offenders for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "ok": self.ok,
            "checks": [asdict(check) | {"examples": list(check.examples)} for check in self.checks],
            "partitions": [asdict(partition) for partition in self.partitions],
            "declared": [asdict(loss) for loss in self.declared],
        }


def rows(reads: Reads, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return a query's rows as dictionaries; for few rows."""
    found: list[dict[str, Any]] = reads.query(sql, parameters).to_pylist()
    return found


def offenders(reads: Reads, sql: str, parameters: Sequence[Any] = ()) -> tuple[int, tuple[str, ...]]:
    """Return how many rows a query with a column `text` has, and the first of the texts."""
    found = rows(reads, f"SELECT text, count(*) OVER () AS total FROM ({sql}) LIMIT {SHOWN}", parameters)  # noqa: S608 - our own SQL
    return (found[0]["total"] if found else 0), tuple(row["text"] for row in found)
