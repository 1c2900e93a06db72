"""The newest value of each (entity, feature) in history, with what may be accepted in its place.

Among rows with the same (event_timestamp, created_at) the online store keeps the one that was written last. Within one
partition or file that is the greatest position. Rows of different origins reach the online store in any order, and
their positions do not compare, so the last of each origin is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.verify.accounting import ORIGINS
from cluster.verify.report import Reads, rows

#: Entities whose newest values are fetched at once. Each fetch scans the table.
ENTITIES_AT_ONCE = 50_000

Key = tuple[str, str]  # entity, feature

_NEWEST = """
    WITH {origins}, unfinished AS (
        SELECT origin FROM origins JOIN uploads USING (upload_id) WHERE kind = 'upload' AND state = 'COMMITTED'
        UNION SELECT origin FROM origins JOIN replays USING (source_id) WHERE state = 'COMMITTED'
        UNION SELECT origin FROM origins JOIN backfill_partitions AS b ON b.backfill_id = origins.backfill_id
            AND b.topic IS NOT DISTINCT FROM origins.topic AND b."partition" IS NOT DISTINCT FROM origins."partition"
            AND b.upload_id IS NOT DISTINCT FROM origins.upload_id
            WHERE published_position < next_position
    ), last AS (
        SELECT entity_id, feature_name, origin,
            max({{'e': event_timestamp, 'c': created_at, 'p': position, 'v': value}}) AS newest
        FROM features JOIN origins USING (source_id)
        WHERE {wanted}
        GROUP BY entity_id, feature_name, origin
    )
    SELECT entity_id, feature_name, epoch_us(newest.e) AS event_us, epoch_us(newest.c) AS created_us, newest.v AS value,
        origin IN (FROM unfinished) AS on_its_way
    FROM last
    QUALIFY (newest.e, newest.c) = max((newest.e, newest.c)) OVER (PARTITION BY entity_id, feature_name)
    ORDER BY entity_id, feature_name"""

_BOUNDS = """
    SELECT entity_id FROM (
        SELECT DISTINCT entity_id FROM features WHERE feature_name IN (SELECT unnest(?::VARCHAR[]))
    ) QUALIFY row_number() OVER (ORDER BY entity_id) % ? = 0
    ORDER BY entity_id"""


@dataclass(frozen=True, slots=True)
class Newest:
    """Rows by entity and feature, more than one for a key where origins are equally new. One entry for each row.

    `entity` and `feature` are indexes into `entities` and into the asked features. `on_its_way` says that the row came
    in a file, a replay or a backfill whose newest values are still being written to the online store.
    """

    entities: list[str]
    entity: NDArray[np.int64]
    feature: NDArray[np.int64]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    value: NDArray[np.float64]
    null: NDArray[np.bool_]
    on_its_way: NDArray[np.bool_]


def in_ranges(reads: Reads, features: Sequence[str]) -> Iterator[Newest]:
    """Yield the newest of all entities, some thousands at once."""
    for low, high in ranges(reads, features):
        wanted = "feature_name IN (SELECT unnest(?::VARCHAR[])) AND entity_id > ?"
        upper = "" if high is None else " AND entity_id <= ?"
        sql = _NEWEST.format(origins=ORIGINS, wanted=wanted + upper)
        yield _columns(reads.query(sql, [features, low] + ([] if high is None else [high])), features)


def ranges(reads: Reads, features: Sequence[str], size: int | None = None) -> list[tuple[str, str | None]]:
    """Return bounds (above, up to) that cut all entities of history into parts worth a scan, or of `size`; the last is open."""
    bounds = [row["entity_id"] for row in rows(reads, _BOUNDS, [features, size or ENTITIES_AT_ONCE])]
    return list(zip(["", *bounds], [*bounds, None], strict=True))


def of_keys(reads: Reads, features: Sequence[str], keys: Sequence[Key]) -> Newest:
    """Return the newest of some (entity, feature) pairs."""
    wanted = "(entity_id, feature_name) IN (SELECT (unnest(?::VARCHAR[]), unnest(?::VARCHAR[])))"
    entities, names = [e for e, _ in keys], [f for _, f in keys]
    return _columns(reads.query(_NEWEST.format(origins=ORIGINS, wanted=wanted), [entities, names]), features)


def _columns(found: pa.Table, features: Sequence[str]) -> Newest:
    entities = found["entity_id"].combine_chunks().dictionary_encode()
    return Newest(
        entities=entities.dictionary.to_pylist(),
        entity=entities.indices.to_numpy().astype(np.int64),
        feature=pc.index_in(found["feature_name"], pa.array(features, pa.string())).to_numpy().astype(np.int64),
        event_us=found["event_us"].to_numpy(),
        created_us=found["created_us"].to_numpy(),
        value=found["value"].fill_null(0.0).to_numpy(),
        null=found["value"].is_null().to_numpy(),
        on_its_way=found["on_its_way"].to_numpy(),
    )
