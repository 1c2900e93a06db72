"""What a backfill will read, and what of the range it cannot.

Read is what Kafka still has of what the ledger covers, and every file of the source that is DONE and kept. Rows of records
that are gone from Kafka, and of files that are gone, stay as they are; the plan says how many that are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cluster.errors import NotFound, Refused
from cluster.ingest.backfills import Backfill, BackfillPart, PartKey
from cluster.registry.catalog import Catalog, near_matches
from cluster.registry.definitions import StreamSource
from cluster.stores.ports import UploadState
from cluster.verify.report import Reads, rows

NOT_KEPT = "its file is not kept here any more (uploads.retention_s, uploads.budget_bytes): upload it again as a corrected file"
NOT_DONE = "it is not DONE yet: do this again when it is"
NOT_IN_KAFKA = "Kafka does not have it any more"
ANOTHER_TOPIC = "the topic was deleted and made again since"

# A range that was declared as lost has no rows and gets none; what lies below it is left alone too.
_LEDGER = """
    SELECT topic, "partition", incarnation, topic_id, next_offset, coalesce(lost, 0) AS lost
    FROM partitions LEFT JOIN topics USING (topic, incarnation) LEFT JOIN (
        SELECT topic, "partition", incarnation, max(next_position) AS lost FROM abandoned GROUP BY ALL
    ) USING (topic, "partition", incarnation)
    WHERE topic = ? ORDER BY "partition\""""
_FILES = """
    SELECT upload_id, state, max(next_position) AS records
    FROM batches JOIN sources USING (source_id) JOIN uploads USING (upload_id)
    WHERE kind = 'upload' AND uploads.source = ? GROUP BY ALL ORDER BY min(uploads.created_at), upload_id"""
# Records of the source with rows in the range, those of other views included, because the view may be new.
_LEFT = """
    WITH parts AS (
        SELECT unnest(?::VARCHAR[]) AS topic, unnest(?::INTEGER[]) AS "partition", unnest(?::INTEGER[]) AS incarnation,
            unnest(?::BIGINT[]) AS first
    ), places AS (
        SELECT source_id, s.topic, s."partition", s.incarnation, s.upload_id, registry_version, first
        FROM sources AS s LEFT JOIN uploads ON uploads.upload_id = s.upload_id
        LEFT JOIN parts ON parts.topic = s.topic AND parts."partition" = s."partition" AND parts.incarnation = s.incarnation
        WHERE s.topic = ? OR (uploads.source = ? AND uploads.upload_id NOT IN (SELECT unnest(?::VARCHAR[])))
    ), records AS (
        SELECT topic, "partition", incarnation, upload_id, position,
            max(registry_version) FILTER (feature_name IN (SELECT unnest(?::VARCHAR[]))) AS version
        FROM features JOIN places USING (source_id)
        WHERE event_timestamp >= make_timestamp(?::BIGINT) AND event_timestamp < make_timestamp(?::BIGINT)
            AND (first IS NULL OR position < first)
        GROUP BY ALL
    )
    SELECT topic, "partition", upload_id, count(*) AS records, min(incarnation) AS incarnation
    FROM records WHERE coalesce(version, 0) < ? GROUP BY ALL ORDER BY ALL"""


class Offsets(Protocol):
    """What Kafka has; met by `KafkaAdmin`. Raises Unreachable."""

    def partitions_of(self, topic: str) -> int | None:
        """Return how many partitions a topic has, or None if there is no such topic."""

    def identity(self, topic: str) -> str | None:
        """Return the id of a topic, or None if the broker gives no ids."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the first offset of a partition that exists, and the one after the last record."""

    def close(self) -> None:
        """Let go of the connection."""


class Files(Protocol):
    """Files of uploads that are kept; met by `cluster.uploads.Originals`. Any thread."""

    def kept(self, source: str) -> Collection[str]:
        """Return the uploads of a source whose files are there."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What can be read again."""

    offsets: Offsets
    files: Files


@dataclass(frozen=True, slots=True)
class Asked:
    """Which view, and for events of which time: `[since_us, until_us)`."""

    view: str
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Left:
    """Records of the range that cannot be computed anew: where they are, how many, and why."""

    place: str
    records: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A backfill as it would begin, and what it leaves as it is; `why` has what is known of uploads that it does not read."""

    backfill: Backfill
    left: tuple[Left, ...]
    why: Mapping[str, str]


def plan(reads: Reads, kept: Kept, catalog: Catalog, asked: Asked, backfill_id: str) -> Plan:
    """Look at the ledger, Kafka and the files; raise NotFound or Refused, the sentence starting with the argument's name."""
    backfill = _backfill(catalog, asked, backfill_id)
    partitions = [
        part for row in rows(reads, _LEDGER, [_topic(catalog, backfill)]) if (part := _part(row, kept.offsets)) is not None
    ]
    files, unfinished = _file_parts(reads, kept.files, backfill.source)
    whole = replace(backfill, parts=(*partitions, *files))
    return Plan(whole, left(reads, catalog, whole, unfinished), unfinished)


def left(reads: Reads, catalog: Catalog, backfill: Backfill, why: Mapping[str, str]) -> tuple[Left, ...]:
    """Return the records of the range that are in none of the backfill's parts; `why` has what is known of uploads."""
    files = [part.upload_id for part in backfill.parts if part.upload_id]
    partitions = [(p.topic, p.partition, p.incarnation, p.first) for p in backfill.parts if not p.upload_id]
    columns = [list(column) for column in zip(*partitions, strict=True)] or [[], [], [], []]
    wanted = _topic(catalog, backfill), backfill.source, files, list(backfill.features), backfill.since_us, backfill.until_us
    found = rows(reads, _LEFT, [*columns, *wanted, backfill.registry_version])
    return tuple(_one_left(row, backfill, why) for row in found)


def _backfill(catalog: Catalog, asked: Asked, backfill_id: str) -> Backfill:
    if asked.view not in catalog.views:
        raise NotFound(f"view: no feature view is called '{asked.view}'{near_matches(asked.view, list(catalog.views))}")
    if asked.since_us >= asked.until_us:
        raise Refused("until_us: the range ends before it begins: it is [from, to) in event time")
    view = catalog.views[asked.view]
    return Backfill(backfill_id, view.name, view.source.name, view.stored, catalog.version, asked.since_us, asked.until_us, ())


def _part(row: dict[str, Any], offsets: Offsets) -> BackfillPart | None:
    """Return a partition's share, or None when there is nothing to read."""
    if row["partition"] >= (offsets.partitions_of(row["topic"]) or 0):
        return None
    topic_id = offsets.identity(row["topic"])
    if topic_id and row["topic_id"] and topic_id != row["topic_id"]:
        return None
    beginning, end = offsets.bounds(row["topic"], row["partition"])
    first, end = max(beginning, row["lost"]), min(end, row["next_offset"])
    if first >= end:
        return None
    return BackfillPart(row["topic"], row["partition"], first, end, first, first, row["incarnation"], row["topic_id"])


def _file_parts(reads: Reads, files: Files, source: str) -> tuple[list[BackfillPart], dict[str, str]]:
    """Return the shares of kept files, and why those that are not DONE have none: their values are still going online."""
    found, kept = rows(reads, _FILES, [source]), files.kept(source)
    parts = [
        BackfillPart("", 0, 0, row["records"], 0, 0, upload_id=row["upload_id"])
        for row in found
        if row["state"] == UploadState.DONE and row["upload_id"] in kept
    ]
    return parts, {row["upload_id"]: NOT_DONE for row in found if row["state"] != UploadState.DONE}


def _topic(catalog: Catalog, backfill: Backfill) -> str:
    source = catalog.source(backfill.source)
    return source.topic if isinstance(source, StreamSource) else ""


def _one_left(row: dict[str, Any], backfill: Backfill, why: Mapping[str, str]) -> Left:
    if (upload_id := row["upload_id"]) is not None:
        return Left(f"upload {upload_id}", row["records"], why.get(upload_id, NOT_KEPT))
    place = PartKey(row["topic"], row["partition"])
    now = [part.incarnation for part in backfill.parts if part.key == place]
    return Left(str(place), row["records"], ANOTHER_TOPIC if now and row["incarnation"] < now[0] else NOT_IN_KAFKA)
