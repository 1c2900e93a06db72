"""Feast's push of rows to its online and its offline store. Runs in Feast's environment.

    files_feast.py FOLDER REDIS_HOST:PORT ROWS.parquet

Pushes the rows (entity_id, value, event_timestamp, created) at once, checks that the offline store has them all, and prints
the seconds that the push took.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import PushMode
from feast.types import Float64
from pyarrow import parquet

CONFIGURATION = """
project: bench
provider: local
registry: {{registry_type: file, path: registry.db, cache_ttl_seconds: 3600}}
online_store: {{type: redis, connection_string: "{redis},db=1"}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""


def main(folder: Path, redis: str, rows: Path) -> None:
    """Define, push, check."""
    (folder / "feature_store.yaml").write_text(CONFIGURATION.format(redis=redis), encoding="utf-8")
    store = FeatureStore(repo_path=str(folder))
    frame = pd.read_parquet(rows)
    history = folder / "history.parquet"
    parquet.write_table(parquet.read_schema(rows).empty_table(), history)
    batch = FileSource(path=str(history), timestamp_field="event_timestamp", created_timestamp_column="created")
    entity = Entity(name="entity", join_keys=["entity_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="pushed",
        entities=[entity],
        ttl=timedelta(days=3650),
        schema=[Field(name="value", dtype=Float64)],
        source=PushSource(name="push", batch_source=batch),
    )
    store.apply([entity, view])
    started = time.monotonic()
    store.push("push", frame, to=PushMode.ONLINE_AND_OFFLINE)
    seconds = time.monotonic() - started
    if len(pd.read_parquet(history)) != len(frame):
        raise AssertionError("the offline store does not have what was pushed")
    print(seconds, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
