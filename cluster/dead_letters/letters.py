"""Dead letters for people: one line each, or one in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.dead_letters.selection import TABLES, Condition, Place, Selection, condition_of
from cluster.errors import NotFound
from cluster.ingest.batch import headers_of
from cluster.records import Headers
from cluster.registry.catalog import Catalog
from cluster.verify.report import Reads, rows

_COLUMNS = """s.topic, s."partition", s.upload_id, q.position, u.source, s.registry_version, q.reason, q.detail,
    epoch_us(q.received_at) AS received_at, epoch_us(q.replayed_at) AS replayed_at,
    epoch_us(coalesce(q.record_time, u.created_at)) AS record_time, octet_length(q.payload) AS payload_bytes"""
_WHOLE = f'{_COLUMNS}, q.payload, q."key", q.headers'
_IN_ORDER = 'ORDER BY q.received_at DESC, s.topic, s.upload_id, s."partition", q.position DESC'


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record. Times are µs; `replayed_at` is None while it is open.

    `source` is empty when the definitions in force have none for it. `payload_bytes` is None for a record without a
    payload (a tombstone). `payload`, `key` and `headers` are only filled when one is looked at in full.
    """

    place: Place
    source: str
    reason: str
    detail: str
    registry_version: int
    received_at: int
    replayed_at: int | None
    record_time: int | None
    payload_bytes: int | None
    payload: bytes | None = None
    key: bytes | None = None
    headers: Headers = ()


def listed(reads: Reads, catalog: Catalog, selection: Selection, limit: int) -> tuple[list[DeadLetter], int]:
    """Return the newest dead letters of a selection, at most `limit`, and how many there are in all."""
    where = condition_of(selection, catalog)
    counted = rows(reads, _select("count(*) AS n", where), where.values)[0]["n"]
    found = rows(reads, f"{_select(_COLUMNS, where)} {_IN_ORDER} LIMIT ?", [*where.values, limit])
    return [_letter(row, catalog) for row in found], counted


def in_full(reads: Reads, catalog: Catalog, place: Place) -> DeadLetter:
    """Return one dead letter with its payload; raise NotFound."""
    where = condition_of(Selection(place=place), catalog)
    # Offsets begin again when a topic is made anew: the one that was rejected last is meant.
    found = rows(reads, f"{_select(_WHOLE, where)} {_IN_ORDER} LIMIT 1", where.values)
    if not found:
        raise NotFound(f"{place} was not rejected, or has not been read yet: see `raytide dead-letters list`")
    return _letter(found[0], catalog)


def source_of(topic: str | None, upload_source: str | None, catalog: Catalog) -> str:
    """Return the source that a record belongs to under these definitions, or an empty text."""
    if topic is None:
        return upload_source if upload_source and upload_source in catalog.sources else ""
    return next((source.name for source in catalog.stream_sources if source.topic == topic), "")


def _select(columns: str, where: Condition) -> str:
    return f"SELECT {columns} FROM {TABLES} WHERE {where.sql}"  # noqa: S608 - our own text, values are parameters


def _letter(row: Mapping[str, Any], catalog: Catalog) -> DeadLetter:
    return DeadLetter(
        place=Place(row["position"], row["topic"] or "", row["partition"] or 0, row["upload_id"] or ""),
        source=source_of(row["topic"], row["source"], catalog),
        reason=row["reason"],
        detail=row["detail"],
        registry_version=row["registry_version"],
        received_at=row["received_at"],
        replayed_at=row["replayed_at"],
        record_time=row["record_time"],
        payload_bytes=row["payload_bytes"],
        payload=row.get("payload"),
        key=row.get("key"),
        headers=headers_of(row.get("headers")),
    )
