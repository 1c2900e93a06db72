"""Rows, rejects, ledger and uploads against each other, one line for each origin.

An origin is a partition or a file, or the replays of its rejects, or what one backfill made of it: versions of the
registry give it several source ids, which count as one here, so that a position stored under two versions is found. What a
backfill superseded is still stored, only elsewhere, and counts where it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.stores.ports import UploadState
from cluster.verify.report import Check, Reads, offenders, rows

Origin = Mapping[str, Any]

#: What is behind each source id, under the first id of the same origin: for queries that must see through versions.
ORIGINS = """origins AS (
        SELECT source_id, kind, topic, "partition", upload_id, incarnation, backfill_id,
            min(source_id) OVER (PARTITION BY kind, topic, "partition", upload_id, incarnation, backfill_id) AS origin
        FROM sources
    )"""

#: All rows that were ever stored, by where they came from.
_STORED = """all_rows AS (
        SELECT source_id, position, feature_name FROM features
        UNION ALL SELECT source_id, position, feature_name FROM superseded
    )"""

# Where a record came from, whether at once or by a replay.
_PLACE = """CASE WHEN topic IS NULL THEN 'upload ' || upload_id
    WHEN incarnation > 0 THEN format('{}[{}] (incarnation {})', topic, "partition", incarnation)
    ELSE format('{}[{}]', topic, "partition") END"""
_LABEL = f"""CASE kind WHEN 'replay' THEN 'replays of ' WHEN 'backfill' THEN format('backfill {{}} of ', backfill_id)
    ELSE '' END || {_PLACE} AS label"""

# One statement, so that all counts are of one moment. Positions are grouped without feature names, which makes it
# several times faster: a bit for each name tells whether one came twice. With more than 63 names bits are shared, so it
# only suspects; `_TWICE` then looks closely.
_ORIGINS = f"""
    WITH {ORIGINS}, {_STORED},
    names AS (
        SELECT feature_name, ((row_number() OVER () - 1) % 63)::BIGINT AS bit
        FROM (SELECT DISTINCT feature_name FROM all_rows)
    ),
    positions AS (
        SELECT origin, position, count(*) AS n, count(*) <> bit_count(bit_or(1::BIGINT << bit)) AS suspect
        FROM all_rows JOIN origins USING (source_id) JOIN names USING (feature_name) GROUP BY origin, position
    ),
    stored AS (
        SELECT origin, count(*) AS stored_events, sum(n)::BIGINT AS stored_rows, count(*) FILTER (suspect) AS suspects,
            min(position) AS stored_first, max(position) AS stored_last
        FROM positions GROUP BY origin
    ),
    rejected AS (
        SELECT origin, count(*) AS stored_rejects, count(DISTINCT position) AS reject_positions,
            min(position) AS reject_first, max(position) AS reject_last
        FROM quarantine JOIN origins USING (source_id) GROUP BY origin
    ),
    both_ways AS (
        SELECT origin, count(DISTINCT position) AS in_both
        FROM all_rows JOIN origins USING (source_id)
        SEMI JOIN (SELECT origin, position FROM quarantine JOIN origins USING (source_id)) USING (origin, position)
        GROUP BY origin
    ),
    ledger AS (
        SELECT origin, sum(events)::BIGINT AS events, sum("rows")::BIGINT AS "rows", sum(rejected)::BIGINT AS rejected,
            min(first_position) AS first, max(next_position) AS next,
            sum(next_position - first_position)::BIGINT AS span
        FROM batches JOIN origins USING (source_id) GROUP BY origin
    ),
    filtered AS (
        SELECT DISTINCT origin
        FROM origins JOIN sources USING (source_id) JOIN registry_versions ON registry_version = version
        WHERE len(list_filter(json_extract(definition, '$.views.*.where'), lambda w: json_type(w) <> 'NULL')) > 0
    ),
    everything AS (
        SELECT DISTINCT origin, kind, topic, "partition", origins.upload_id, incarnation, backfill_id FROM origins
    )
    SELECT {_LABEL.replace("upload_id", "coalesce(everything.upload_id, uploads.upload_id)")},
        everything.origin, kind, uploads.upload_id IS NOT NULL AS is_upload, state,
        uploads."rows" AS upload_events, uploads.rejected AS upload_rejects,
        coalesce(stored_events, 0) AS stored_events, coalesce(stored_rows, 0) AS stored_rows,
        coalesce(suspects, 0) AS suspects, coalesce(in_both, 0) AS in_both,
        coalesce(stored_rejects, 0) AS stored_rejects, coalesce(reject_positions, 0) AS reject_positions,
        coalesce(events, 0) AS events, coalesce(ledger."rows", 0) AS "rows", coalesce(ledger.rejected, 0) AS rejected,
        coalesce(span, 0) AS span, coalesce(first, 0) AS first, coalesce(next, 0) AS next,
        coalesce(everything.origin IN (FROM filtered), false) AS filtered,
        least(stored_first, reject_first) AS lowest, greatest(stored_last, reject_last) AS highest
    FROM everything
    LEFT JOIN stored USING (origin) LEFT JOIN rejected USING (origin) LEFT JOIN both_ways USING (origin)
    LEFT JOIN ledger USING (origin)
    FULL JOIN uploads ON kind = 'upload' AND everything.upload_id = uploads.upload_id
    ORDER BY label"""  # noqa: S608 - made of this module's constants

_TWICE = f"""
    WITH {ORIGINS}, {_STORED}
    SELECT format('{{}}: position {{}} has {{}} {{}} times', label, position, feature_name, n) AS text FROM (
        SELECT {_LABEL}, position, feature_name, count(*) AS n
        FROM all_rows JOIN origins USING (source_id)
        WHERE origin IN (SELECT unnest(?::INTEGER[]))
        GROUP BY ALL HAVING n > 1
    )
    UNION ALL
    SELECT format('{{}}: position {{}} is in quarantine {{}} times', label, position, n) FROM (
        SELECT {_LABEL}, position, count(*) AS n FROM quarantine JOIN origins USING (source_id) GROUP BY ALL HAVING n > 1
    )
    UNION ALL
    SELECT DISTINCT format('{{}}: position {{}} is in features and in quarantine', label, position) FROM (
        SELECT {_LABEL}, position FROM all_rows JOIN origins USING (source_id)
        SEMI JOIN (SELECT origin, position FROM quarantine JOIN origins USING (source_id)) USING (origin, position)
    )"""  # noqa: S608 - made of this module's constants

# A reject is marked in the transaction that stores its rows, so each side has the other.
_REPLAYED = f"""
    WITH {_STORED}, marked AS (
        SELECT {_PLACE} AS place, position FROM quarantine JOIN sources USING (source_id) WHERE replayed_at IS NOT NULL
    ), stored AS (
        SELECT DISTINCT {_PLACE} AS place, position FROM all_rows JOIN sources USING (source_id) WHERE kind = 'replay'
    )
    SELECT format('{{}}: position {{}} is marked as replayed, but has no rows of a replay', place, position) AS text
        FROM marked ANTI JOIN stored USING (place, position)
    UNION ALL
    SELECT format('{{}}: position {{}} has rows of a replay, but is not marked as replayed', place, position)
        FROM stored ANTI JOIN marked USING (place, position)"""  # noqa: S608 - made of this module's constants

# A replay that is not finished keeps its gateway's attention, so it must be in the ledger.
_REPLAYS = """
    SELECT format('replay {}: {} records from position {} of source_id {} are not in the ledger', replay_id, events,
        first_position, source_id) AS text
    FROM replays ANTI JOIN batches USING (source_id, first_position, next_position, events)"""

# A reader must never meet two versions of one feature of one record; what was superseded went with a chunk of a backfill
# under newer definitions.
_MIXED = f"""
    WITH places AS (
        SELECT source_id, kind, {_PLACE} AS name,
            min(source_id) OVER (PARTITION BY topic, "partition", upload_id, incarnation) AS place
        FROM sources
    ), mine AS (
        SELECT source_id, place, name, position, feature_name FROM features JOIN places USING (source_id)
        WHERE kind = 'backfill'
    ), others AS (
        SELECT source_id AS other, place, position, feature_name FROM features JOIN places USING (source_id)
        WHERE place IN (SELECT place FROM mine)
    ), ranges AS (
        SELECT source_id AS superseded_by, first_position, next_position, registry_version AS newer
        FROM batches JOIN sources USING (source_id) WHERE kind = 'backfill'
    )
    SELECT format('{{}}: position {{}} has {{}} from source_id {{}} and from {{}}', name, position, feature_name, source_id,
            other) AS text
        FROM mine JOIN others USING (place, position, feature_name) WHERE source_id <> other
    UNION ALL
    SELECT format('{{}}: position {{}} has a superseded {{}}, but no backfill took its place', {_PLACE}, position, feature_name)
        FROM superseded JOIN sources USING (source_id)
        LEFT JOIN ranges ON ranges.superseded_by = superseded.superseded_by AND newer > registry_version
            AND position >= first_position AND position < next_position
        WHERE newer IS NULL"""  # noqa: S608 - made of this module's constants

_UNKNOWN = """
    SELECT format('{}: {} rows of source_id {}, which is not in sources', name, n, coalesce(source_id::VARCHAR, 'NULL')) AS text
    FROM (
        SELECT 'features' AS name, source_id, count(*) AS n FROM features GROUP BY ALL
        UNION ALL SELECT 'superseded', source_id, count(*) FROM superseded GROUP BY ALL
        UNION ALL SELECT 'superseded', superseded_by, count(*) FROM superseded GROUP BY ALL
        UNION ALL SELECT 'quarantine', source_id, count(*) FROM quarantine GROUP BY ALL
        UNION ALL SELECT 'batches', source_id, count(*) FROM batches GROUP BY ALL
    ) ANTI JOIN sources USING (source_id)"""

_WHOLE = {UploadState.COMMITTED, UploadState.DONE}


def origins(reads: Reads) -> Sequence[Origin]:
    """Return the counts of every partition and file, all of one moment."""
    return rows(reads, _ORIGINS)


def checks(reads: Reads, found: Sequence[Origin]) -> Iterator[Check]:
    """Yield the checks over `origins`; asks the database again only for what looks wrong."""
    total = sum(o["stored_events"] + o["stored_rejects"] for o in found)
    streams = [o for o in found if o["kind"] == "stream"]
    uploads = [o for o in found if o["kind"] not in ("stream", "replay", "backfill")]
    backfilled = [o for o in found if o["kind"] == "backfill"]
    replayed = sum(o["stored_events"] for o in found if o["kind"] == "replay")
    yield Check("rows come from a known source", sum(o["stored_rows"] for o in found), *offenders(reads, _UNKNOWN))
    yield _once(reads, found, total)
    outside = [text for o in streams for text in _outside(o)]
    yield Check.of("positions lie inside the ledger", sum(o["stored_events"] + o["stored_rejects"] for o in streams), outside)
    yield Check.of("rows and rejects account for each event", total, [text for o in found for text in _unaccounted(o)])
    amiss = offenders(reads, f"{_REPLAYED} UNION ALL {_REPLAYS}")
    yield Check("replayed rejects have their rows, and no others", replayed, *amiss)
    mixed = offenders(reads, _MIXED) if backfilled else (0, ())
    yield Check("backfilled records are read under one version", sum(o["stored_events"] for o in backfilled), *mixed)
    yield Check.of("uploads are whole", len(uploads), [text for o in uploads for text in _half(o)])


def _once(reads: Reads, found: Sequence[Origin], total: int) -> Check:
    suspects = [o["origin"] for o in found if o["suspects"] or o["in_both"] or o["stored_rejects"] != o["reject_positions"]]
    wrong = offenders(reads, _TWICE, [suspects]) if suspects else (0, ())
    return Check("each position is stored once", total, *wrong)


def _outside(o: Origin) -> Iterator[str]:
    if o["lowest"] is not None and not o["first"] <= o["lowest"] <= o["highest"] < o["next"]:
        yield (
            f"{o['label']}: positions {o['lowest']} to {o['highest']} are stored, the ledger has {o['first']} up to "
            f"but not including {o['next']}"
        )


def _unaccounted(o: Origin) -> Iterator[str]:
    for what, stored, counted in (
        ("events", o["stored_events"], _with_rows(o, o["events"])),
        ("rows", o["stored_rows"], o["rows"]),
        ("rejects", o["stored_rejects"], o["rejected"]),
    ):
        if stored != counted:
            yield f"{o['label']}: {stored} {what} are stored, the ledger counts {counted}"
    if o["events"] + o["rejected"] > o["span"]:
        yield f"{o['label']}: the ledger counts {o['events'] + o['rejected']} records in {o['span']} positions"


def _half(o: Origin) -> Iterator[str]:
    if not o["is_upload"]:
        yield f"{o['label']}: has rows, but uploads does not know it"
    elif o["state"] in _WHOLE:
        if o["stored_events"] != _with_rows(o, o["upload_events"]):
            yield f"{o['label']}: {o['stored_events']} records are stored, uploads counts {o['upload_events']}"
        if o["stored_rejects"] != o["upload_rejects"]:
            yield f"{o['label']}: {o['stored_rejects']} rejects are stored, uploads counts {o['upload_rejects']}"
    elif o["stored_rows"] or o["stored_rejects"] or o["span"]:
        yield f"{o['label']}: is {o['state']}, but {o['stored_rows']} rows and {o['stored_rejects']} rejects are stored"


def _with_rows(o: Origin, events: int) -> int:
    """Return how many of `events` must have rows: where a view has a `where`, those that it left out have none.

    How many those are is not stored. An event that was lost shows all the same, for its rows are missing.
    """
    return min(events, int(o["stored_events"])) if o["filtered"] else events
