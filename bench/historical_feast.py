"""Feast's point-in-time join over a Parquet file. Runs in Feast's environment.

    historical_feast.py FOLDER OFFLINE_STORE EVENTS.parquet ROWS.parquet ANSWER.parquet

OFFLINE_STORE is `file` or `duckdb`. Prints one line of JSON: seconds, seconds of CPU, and peak memory in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
from pyarrow import parquet

TRIES = 3
CONFIGURATION = """
project: bench
provider: local
registry: {{registry_type: file, path: registry.db, cache_ttl_seconds: 3600}}
online_store: {{type: sqlite, path: online.db}}
offline_store: {{type: {offline}}}
entity_key_serialization_version: 3
"""


def main(folder: Path, offline: str, events: Path, rows: Path, answer: Path) -> None:
    """Define, join, write the answer."""
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(CONFIGURATION.format(offline=offline), encoding="utf-8")
    store = FeatureStore(repo_path=str(folder))
    names = [name for name in parquet.read_schema(events).names if name not in ("user_id", "event_timestamp")]
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="stats",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(events), timestamp_field="event_timestamp"),
    )
    store.apply([user, view])
    frame, features = pd.read_parquet(rows), [f"stats:{name}" for name in names]
    took, cpu = [], []
    for _ in range(TRIES):
        began, used = time.perf_counter(), time.process_time()
        found = store.get_historical_features(entity_df=frame, features=features).to_arrow()
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    parquet.write_table(pa.table(found).sort_by("n"), answer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": took, "cpu": cpu, "peak_mb": round(peak)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(Path, sys.argv[3:]))
