"""The tables of the DuckDB file (docs/formats.md). Times are UTC microseconds.

No table has an index or a key: the one writer keeps them unique (decision 0005), and secondary indexes are where DuckDB
files have been damaged before.
"""

from __future__ import annotations

SCHEMA_VERSION = 6

REPLAYS = """replays(replay_id VARCHAR, source_id INTEGER, first_position BIGINT, next_position BIGINT, events BIGINT,
        state VARCHAR, committed_at TIMESTAMP)"""
ABANDONED = """abandoned(topic VARCHAR, "partition" INTEGER, incarnation INTEGER, first_position BIGINT, next_position BIGINT,
        reason VARCHAR, declared_by VARCHAR, declared_at TIMESTAMP)"""
# Rows that a backfill replaced, as they were; they left `features` in the transaction that brought what replaces them.
SUPERSEDED = """superseded(entity_id VARCHAR, feature_name VARCHAR, value DOUBLE, event_timestamp TIMESTAMP,
        created_at TIMESTAMP, source_id INTEGER, position BIGINT, superseded_by INTEGER, superseded_at TIMESTAMP)"""
BACKFILLS = """backfills(backfill_id VARCHAR, "view" VARCHAR, source VARCHAR, features VARCHAR[], registry_version INTEGER,
        since TIMESTAMP, "until" TIMESTAMP, state VARCHAR, holder VARCHAR, note VARCHAR, created_at TIMESTAMP,
        updated_at TIMESTAMP)"""
BACKFILL_PARTITIONS = """backfill_partitions(backfill_id VARCHAR, topic VARCHAR, "partition" INTEGER, incarnation INTEGER,
        topic_id VARCHAR, first_position BIGINT, end_position BIGINT, next_position BIGINT, published_position BIGINT,
        events BIGINT, "rows" BIGINT, superseded BIGINT, rejected BIGINT, "open" BIGINT, upload_id VARCHAR)"""
CLUSTERED = "clustered(source_id INTEGER, next_position BIGINT)"
TOPICS = "topics(topic VARCHAR, incarnation INTEGER, topic_id VARCHAR, first_seen TIMESTAMP)"

TABLES = (
    "meta(schema_version INTEGER)",
    # The user's five columns, then where the row came from. (source_id, position, feature_name) is unique.
    """features(entity_id VARCHAR, feature_name VARCHAR, value DOUBLE, event_timestamp TIMESTAMP, created_at TIMESTAMP,
        source_id INTEGER, position BIGINT)""",
    # Up to where the rows of a source lie in the order of (feature, entity, time); the others lie as they arrived.
    CLUSTERED,
    # What a source_id stands for: (topic, partition, registry version) or (upload, registry version). Offsets of a topic
    # that was made anew begin again: they are another incarnation.
    """sources(source_id INTEGER, kind VARCHAR, topic VARCHAR, "partition" INTEGER, upload_id VARCHAR,
        registry_version INTEGER, created_at TIMESTAMP, incarnation INTEGER DEFAULT 0, backfill_id VARCHAR)""",
    # The ledger: for each partition and incarnation ranges [first, next) follow one another. A file has one, of epoch 0.
    """batches(source_id INTEGER, first_position BIGINT, next_position BIGINT, events BIGINT, "rows" BIGINT,
        rejected BIGINT, epoch BIGINT, committed_at TIMESTAMP)""",
    """partitions(topic VARCHAR, "partition" INTEGER, epoch BIGINT, next_offset BIGINT, incarnation INTEGER DEFAULT 0)""",
    # Kafka's id of each topic that was read, one row for each of its lives.
    TOPICS,
    # Loss that somebody declared, for ever. `next_position` is NULL where nobody can know how much it was.
    ABANDONED,
    """quarantine(source_id INTEGER, position BIGINT, reason VARCHAR, detail VARCHAR, payload BLOB, "key" BLOB,
        headers VARCHAR, received_at TIMESTAMP, replayed_at TIMESTAMP, record_time TIMESTAMP)""",
    # Rejects that passed after all, a range of `batches` each; COMMITTED until their newest values are online, then DONE.
    REPLAYS,
    SUPERSEDED,
    # Recomputations of a view for a range of event time, and how far each is in each partition, or in each file, which has
    # no topic: below `next_position` it is in history, below `published_position` also online.
    BACKFILLS,
    BACKFILL_PARTITIONS,
    """uploads(upload_id VARCHAR, idempotency_key VARCHAR, name VARCHAR, source VARCHAR, format VARCHAR, sha256 VARCHAR,
        bytes BIGINT, state VARCHAR, "rows" BIGINT, rejected BIGINT, error VARCHAR, created_at TIMESTAMP,
        updated_at TIMESTAMP)""",
    # `shipped` is what workers load (loader.to_bytes); NULL for versions of an older Raytide.
    """registry_versions(version INTEGER, applied_at TIMESTAMP, applied_by VARCHAR, content_hash VARCHAR,
        definition JSON, comment VARCHAR, shipped BLOB)""",
)

CREATE_TABLES = tuple(f"CREATE TABLE IF NOT EXISTS {table}" for table in TABLES)

#: What makes a file of an older version one of the next.
UPGRADES = {
    1: ("ALTER TABLE quarantine ADD COLUMN record_time TIMESTAMP", f"CREATE TABLE {REPLAYS}"),
    2: (
        "ALTER TABLE sources ADD COLUMN incarnation INTEGER DEFAULT 0",
        "ALTER TABLE partitions ADD COLUMN incarnation INTEGER DEFAULT 0",
        f"CREATE TABLE {TOPICS}",
        f"CREATE TABLE {ABANDONED}",
    ),
    3: (
        "ALTER TABLE registry_versions ADD COLUMN shipped BLOB",
        "ALTER TABLE sources ADD COLUMN backfill_id VARCHAR",
        f"CREATE TABLE {SUPERSEDED}",
        f"CREATE TABLE {BACKFILLS}",
        f"CREATE TABLE {BACKFILL_PARTITIONS}",
    ),
    # One that was made on the way here has the column already.
    4: ("ALTER TABLE backfill_partitions ADD COLUMN IF NOT EXISTS upload_id VARCHAR",),
    5: (f"CREATE TABLE {CLUSTERED}",),
}
