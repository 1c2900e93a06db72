"""A selection in bounded parts, so that a million rejects are never in memory at once.

What is rejected while a replay runs is not part of it: each group ends where it ended when the replay began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster.config import IngestConfig
from cluster.dead_letters.compute import Part
from cluster.dead_letters.letters import source_of
from cluster.dead_letters.selection import TABLES, Condition
from cluster.ingest.batch import headers_of
from cluster.ingest.files.csv_again import BROKEN_ROWS
from cluster.ingest.files.piece import Format
from cluster.records import Origin, Reason, Records, SourceKind
from cluster.registry.catalog import Catalog
from cluster.verify.report import Reads, rows

NO_SOURCE = "no source of the definitions in force reads it"
NOT_WHOLE = "a row of a Parquet file is kept as text for people, without its types: upload it as a file of its own"
NO_COLUMNS = "the columns of its CSV file were not kept with it, being more than 4 KiB: upload it as a file of its own"
BROKEN = "it is no row of its file's columns: upload it, corrected, as a file of its own"
ONLY_A_PART = "only the start of a row that is too large was kept: upload it as a file of its own"
NO_TIME = "it was rejected by a Raytide that did not keep the message's time"

_GROUPS = """
    SELECT source_id, s.kind, s.registry_version, s.topic, s."partition", s.upload_id, s.incarnation, u.source,
        u.format, count(*) AS n, max(q.position) AS last
    FROM {tables} WHERE {where} GROUP BY ALL ORDER BY source_id"""
# Sizes first: the payloads of all that is left could be too much.
_BOUND = """
    SELECT max(position) AS last FROM (
        SELECT q.position, row_number() OVER in_order AS n,
            sum(coalesce(octet_length(q.payload), 0) + coalesce(strlen(q.headers), 0)) OVER in_order AS size
        FROM {tables} WHERE {where} WINDOW in_order AS (ORDER BY q.position ROWS UNBOUNDED PRECEDING)
    ) WHERE n = 1 OR (n <= ? AND size <= ?)"""
_ROWS = """
    SELECT q.position, q.reason, q.payload, q.headers, epoch_us(coalesce(q.record_time, u.created_at)) AS record_time
    FROM {tables} WHERE {where} ORDER BY q.position"""


@dataclass(frozen=True, slots=True)
class Group:
    """Rejects of one origin: `count` of them up to position `last`. `source` is empty if nothing reads them now."""

    source_id: int
    origin: Origin
    source: str
    format: str
    count: int
    last: int

    @property
    def cannot(self) -> str:
        """Return why none of them can be replayed, or an empty text."""
        if not self.source:
            return NO_SOURCE
        if self.format == Format.PARQUET:
            return NOT_WHOLE
        return ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rejects of a group, `count` of them: those of `part` can be replayed, the others are counted by why not."""

    part: Part
    count: int
    skipped: Mapping[str, int]


def groups_of(reads: Reads, catalog: Catalog, where: Condition) -> list[Group]:
    """Return what there is to replay."""
    found = rows(reads, _GROUPS.format(tables=TABLES, where=where.sql), where.values)
    return [_group(row, catalog) for row in found]


def chunks_of(reads: Reads, group: Group, where: Condition, ingest: IngestConfig) -> Iterator[Chunk]:
    """Yield the records of a group in position order, at most a batch of a stream at once."""
    after = -1
    mine = where.also("source_id = ?", group.source_id)
    while True:
        rest = mine.also("q.position > ? AND q.position <= ?", after, group.last)
        bound = rows(
            reads, _BOUND.format(tables=TABLES, where=rest.sql), [*rest.values, ingest.batch_records, ingest.batch_bytes]
        )
        last = bound[0]["last"]
        if last is None:
            return
        part = mine.also("q.position > ? AND q.position <= ?", after, last)
        yield _chunk(reads.query(_ROWS.format(tables=TABLES, where=part.sql), part.values), group)
        after = last


def _group(row: dict[str, Any], catalog: Catalog) -> Group:
    place = row["topic"], row["partition"], row["upload_id"], row["incarnation"]
    origin = Origin(SourceKind(row["kind"]), row["registry_version"], *place)
    source = source_of(row["topic"], row["source"], catalog)
    return Group(row["source_id"], origin, source, row["format"] or "", row["n"], row["last"])


def _chunk(found: pa.Table, group: Group) -> Chunk:
    whys = [_why_not(row, group) for row in found.select(["reason", "headers", "record_time"]).to_pylist()]
    whole = found.filter(pa.array([not why for why in whys], pa.bool_()))
    kept = headers_of(whole["headers"][0].as_py()) if group.format == Format.CSV and whole.num_rows else ()
    return Chunk(Part(group.source, _records(whole), kept), found.num_rows, Counter(why for why in whys if why))


def _why_not(row: dict[str, Any], group: Group) -> str:
    """Return why a record cannot be replayed, or an empty text."""
    if group.origin.kind is SourceKind.UPLOAD and row["reason"] == Reason.TOO_LARGE:
        return ONLY_A_PART
    if group.format == Format.CSV and row["headers"] is None:
        return BROKEN if row["reason"] in BROKEN_ROWS else NO_COLUMNS
    return NO_TIME if row["record_time"] is None else ""


def _records(found: pa.Table) -> Records:
    positions = found["position"].to_numpy()
    first, following = (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)
    return Records(first, following, positions, found["payload"].to_pylist(), found["record_time"].to_numpy())
