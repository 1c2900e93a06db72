"""The columns that a source asks of a file, and the check of a file's columns against them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.errors import BadFile
from cluster.registry.catalog import AnySource
from cluster.registry.definitions import DType, Long

_SHOWN = 10
_SHOWN_CHARACTERS = 40


class Kind(StrEnum):
    """What the values of a column are to become; the value says which types of a file will do."""

    IDENTIFIER = "text or an integer"
    TEXT = "text"
    NUMBER = "a number"
    INTEGER = "an integer"
    BOOLEAN = "true or false"
    TIME = "a timestamp, an integer or RFC 3339 text"


_KINDS = {DType.FLOAT64: Kind.NUMBER, DType.INT64: Kind.INTEGER, DType.STRING: Kind.TEXT, DType.BOOL: Kind.BOOLEAN}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a source reads; without a `required` one no row of the file could be valid."""

    name: str
    kind: Kind
    required: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a source's files, each name once. `strict` forbids any other."""

    source: str
    columns: tuple[Column, ...]
    strict: bool

    def present(self, found: Sequence[str]) -> tuple[Column, ...]:
        """Return the source's columns that are among `found`."""
        return tuple(column for column in self.columns if column.name in set(found))

    def check(self, found: Sequence[str]) -> None:
        """Raise BadFile when a file with the columns `found` cannot have a valid row."""
        names = [column.name for column in self.columns]
        missing = [c.name for c in self.columns if c.required and c.name not in found]
        if missing:
            raise BadFile(
                f"no column {_quoted(missing)}, which source '{self.source}' requires; the file has {_quoted(found)}"
                f"{_near(missing, [name for name in found if name not in names])}: "
                "rename the file's columns, or map the names in the source's definition",
            )
        if doubled := sorted(name for name, count in Counter(filter(None, found)).items() if count > 1):
            raise BadFile(f"the file has more than one column {_quoted(doubled)}: leave one of each")
        if self.strict and (unknown := [name for name in found if name not in names]):
            raise BadFile(
                f"source '{self.source}' is strict and does not know the column {_quoted(unknown)}: "
                "leave it out, or declare it",
            )


def layout_of(source: AnySource) -> Layout:
    """Return the columns that files for `source` must or may have."""
    records = source.records
    columns = [Column(f.name, _KINDS[f.dtype], required=f.required) for f in getattr(records, "fields", ())]
    if isinstance(records, Long):
        columns += [
            Column(records.entity_id, Kind.IDENTIFIER),
            Column(records.feature_name, Kind.TEXT),
            Column(records.value, Kind.NUMBER),
        ]
    else:
        columns.append(Column(records.join_key, Kind.IDENTIFIER))
    columns.append(Column(records.event_timestamp, Kind.TIME))
    if records.created_at is not None:
        # Rows that say nothing became known when the upload began, as messages did at Kafka's time.
        columns.append(Column(records.created_at, Kind.TIME, required=False))
    # A declared field that is also the join key or a time keeps its declared type (parsed.py); required wins.
    required = {c.name for c in columns if c.required}
    first = {c.name: c for c in reversed(columns)}
    return Layout(
        source=source.name,
        columns=tuple(Column(c.name, c.kind, c.name in required) for c in dict.fromkeys(first[c.name] for c in columns)),
        strict=records.strict,
    )


def _near(missing: Sequence[str], others: Sequence[str]) -> str:
    folded = {other.casefold(): other for other in others}
    found = {name: difflib.get_close_matches(name.casefold(), folded, n=1) for name in missing}
    pairs = [(name, folded[close]) for name, closest in found.items() for close in closest]
    return "".join(f"; '{close[:_SHOWN_CHARACTERS]}' looks like '{name}'" for name, close in pairs)


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name[:_SHOWN_CHARACTERS]}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "") if names else "no columns"
