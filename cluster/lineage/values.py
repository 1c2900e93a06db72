"""One stored value: the record it came from, the functions that made it, and when each of that happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.errors import NotFound, Refused
from cluster.lineage.definitions import feature_in, graph_of
from cluster.lineage.features import feature_meant
from cluster.lineage.graph import Graph
from cluster.records import Origin, SourceKind
from cluster.registry.catalog import Catalog, FeatureSpec
from cluster.serving.online import Status
from cluster.verify.report import Reads, rows

# The order is that of point-in-time reads (cluster/serving/asof.py), so that the row found is the one that they return.
_ROW = """
    SELECT f.value, epoch_us(f.event_timestamp) AS event_timestamp, epoch_us(f.created_at) AS created_at, f.position,
        f.source_id, s.kind, s.registry_version, s.topic, s."partition", s.upload_id, s.incarnation, u.name AS upload_name,
        r.definition, epoch_us(r.applied_at) AS applied_at, r.applied_by
    FROM features AS f JOIN sources AS s USING (source_id) LEFT JOIN uploads AS u ON u.upload_id = s.upload_id
        LEFT JOIN registry_versions AS r ON r.version = s.registry_version
    WHERE f.entity_id = ? AND f.feature_name = ?
        AND f.event_timestamp <= coalesce(make_timestamp(?::BIGINT), 'infinity'::TIMESTAMP)
    ORDER BY f.event_timestamp DESC, f.created_at DESC, f.position DESC, f.source_id DESC LIMIT 1"""
_COMMITTED = """
    SELECT epoch_us(max(committed_at)) AS at FROM batches
    WHERE source_id = $1 AND first_position <= $2 AND next_position > $2"""
# The ranges of replays overlap; when a record was replayed stands beside its reject, written in the same transaction.
_REPLAYED = """
    SELECT epoch_us(max(q.replayed_at)) AS at
    FROM sources AS r, quarantine AS q JOIN sources AS s ON s.source_id = q.source_id
    WHERE r.source_id = $1 AND q.position = $2 AND s.topic IS NOT DISTINCT FROM r.topic
        AND s."partition" IS NOT DISTINCT FROM r."partition" AND s.upload_id IS NOT DISTINCT FROM r.upload_id
        AND s.incarnation = r.incarnation"""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose value of which feature, as `view:feature` or `feature`; at `at_us`, or the newest if that is None."""

    entity_id: str
    feature: str
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class ValueLineage:
    """Where a value came from: the record at `position` of `origin`, through `graph`. Times are µs.

    `status` is what a read at that moment says: an expired value is found all the same. `graph` is what the feature was
    made from in the version of the definitions under which the record was read, applied at `applied_at`. `committed_at`
    and `applied_at` are None where history does not say.
    """

    entity_id: str
    feature: str
    view: str
    value: float | None
    status: Status
    event_timestamp: int
    created_at: int
    committed_at: int | None
    origin: Origin
    position: int
    upload_name: str
    applied_at: int | None
    applied_by: str
    graph: Graph


def value_lineage(reads: Reads, catalog: Catalog, asked: Asked, now_us: int) -> ValueLineage:
    """Return where the value came from that a read at that time finds, or the newest; raise NotFound when there is none.

    Raise Refused for an aggregation, which has no record of its own.
    """
    spec = feature_meant(catalog, asked.feature)
    if not spec.is_stored:
        raise Refused(
            f"'{spec.view}:{spec.name}' is computed from many records when it is read: ask for '{spec.view}:{spec.rows[0]}'"
        )
    found = rows(reads, _ROW, [asked.entity_id, spec.name, asked.at_us])
    if not found:
        raise NotFound(_none(spec, asked))
    row = found[0]
    return ValueLineage(
        entity_id=asked.entity_id,
        feature=spec.name,
        view=spec.view,
        value=row["value"],
        status=_status(spec, row, now_us if asked.at_us is None else asked.at_us),
        event_timestamp=row["event_timestamp"],
        created_at=row["created_at"],
        committed_at=_committed_at(reads, row),
        origin=_origin(row),
        position=row["position"],
        upload_name=row["upload_name"] or "",
        applied_at=row["applied_at"],
        applied_by=row["applied_by"] or "",
        graph=_made_from(row["definition"], spec.name),
    )


def _none(spec: FeatureSpec, asked: Asked) -> str:
    when = "" if asked.at_us is None else " at or before that time"
    return (
        f"history has no value of '{spec.view}:{spec.name}' for this entity{when}: check the entity's id, and "
        "`raytide dead-letters list` for records that were rejected"
    )


def _status(spec: FeatureSpec, row: Mapping[str, Any], at_us: int) -> Status:
    if spec.ttl_us is not None and at_us - row["event_timestamp"] > spec.ttl_us:
        return Status.OUTSIDE_MAX_AGE
    return Status.NULL_VALUE if row["value"] is None else Status.PRESENT


def _committed_at(reads: Reads, row: Mapping[str, Any]) -> int | None:
    statement = _REPLAYED if row["kind"] == SourceKind.REPLAY else _COMMITTED
    at: int | None = rows(reads, statement, [row["source_id"], row["position"]])[0]["at"]
    return at


def _origin(row: Mapping[str, Any]) -> Origin:
    place = row["topic"], row["partition"], row["upload_id"], row["incarnation"]
    return Origin(SourceKind(row["kind"]), row["registry_version"], *place)


def _made_from(definition: str | None, feature: str) -> Graph:
    graph = graph_of(json.loads(definition)) if definition else Graph((), ())
    node = feature_in(graph, feature)
    return Graph((), ()) if node is None else graph.upstream(node)
