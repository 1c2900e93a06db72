"""Which dead letters: filters as SQL conditions whose values are parameters, never text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.errors import NotFound, Refused
from cluster.records import Reason
from cluster.registry.catalog import Catalog, near_matches
from cluster.registry.definitions import StreamSource

#: Every reject with its origin and, if it came in a file, the upload.
TABLES = "quarantine AS q JOIN sources AS s USING (source_id) LEFT JOIN uploads AS u ON s.upload_id = u.upload_id"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one record is: an offset of a topic's partition, or a row of an upload. As text, what `parse` takes."""

    position: int
    topic: str = ""
    partition: int = 0
    upload_id: str = ""

    def __str__(self) -> str:
        return f"{self.upload_id or f'{self.topic}/{self.partition}'}/{self.position}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the place that is written like this; raise Refused."""
        match text.split("/"):
            case [topic, partition, offset] if topic and partition.isdecimal() and offset.isdecimal():
                return cls(int(offset), topic=topic, partition=int(partition))
            case [upload_id, row] if upload_id and row.isdecimal():
                return cls(int(row), upload_id=upload_id)
        raise Refused(f"'{text[:80]}' is no place of a record: write TOPIC/PARTITION/OFFSET, or UPLOAD/ROW")


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters that all must hold; what is left out selects everything. Times are µs, of when the record was rejected.

    `source` is one of the definitions in force. `replayed` is whether a replay was successful.
    """

    source: str = ""
    upload_id: str = ""
    reason: str = ""
    since_us: int | None = None
    until_us: int | None = None
    replayed: bool | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition over TABLES with its values."""

    sql: str
    values: tuple[Any, ...]

    def also(self, sql: str, *values: Any) -> Condition:
        """Return this and another one."""
        return Condition(f"{self.sql} AND {sql}", self.values + values)


def condition_of(selection: Selection, catalog: Catalog) -> Condition:
    """Return the condition that selects; raise Refused or NotFound, the sentence starting with the filter's name."""
    found = Condition("s.kind IN ('stream', 'upload')", ())
    if selection.source:
        found = found.also("(s.topic = ? OR u.source = ?)", _topic(selection.source, catalog), selection.source)
    if selection.upload_id:
        found = found.also("s.upload_id = ?", selection.upload_id)
    if selection.reason:
        _check_reason(selection.reason)
        found = found.also("q.reason = ?", selection.reason)
    if selection.since_us is not None:
        found = found.also("q.received_at >= make_timestamp(?::BIGINT)", selection.since_us)
    if selection.until_us is not None:
        found = found.also("q.received_at < make_timestamp(?::BIGINT)", selection.until_us)
    if selection.replayed is not None:
        found = found.also("(q.replayed_at IS NOT NULL) = ?", selection.replayed)
    return found if selection.place is None else _at(found, selection.place)


def _topic(source: str, catalog: Catalog) -> str | None:
    try:
        known = catalog.source(source)
    except NotFound as error:
        raise NotFound(f"source: {error}") from None
    return known.topic if isinstance(known, StreamSource) else None


def _check_reason(reason: str) -> None:
    if reason not in list(Reason):
        raise Refused(f"reason: '{reason[:40]}' is not known{near_matches(reason, list(Reason))}")


def _at(found: Condition, place: Place) -> Condition:
    if bool(place.topic) == bool(place.upload_id):
        raise Refused("place: name a topic with partition and offset, or an upload with a row")
    if place.upload_id:
        return found.also("s.upload_id = ? AND q.position = ?", place.upload_id, place.position)
    return found.also('s.topic = ? AND s."partition" = ? AND q.position = ?', place.topic, place.partition, place.position)
