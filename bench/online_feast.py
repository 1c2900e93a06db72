"""Feast's own gRPC server over Redis. Runs in Feast's environment.

    online_feast.py FOLDER REDIS_HOST:PORT PORT VALUES.parquet

Writes the values (user_id, event_timestamp, then features) to Feast's online store, serves them, prints `ready` and goes on
until standard input ends.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.contrib.grpc_server import get_grpc_server
from feast.types import Float64

CONFIGURATION = """
project: bench
provider: local
registry: {{registry_type: file, path: registry.db, cache_ttl_seconds: 3600}}
online_store: {{type: redis, connection_string: "{redis},db=1"}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""


def main(folder: Path, redis: str, port: str, values: Path) -> None:
    """Write, serve, wait."""
    (folder / "feature_store.yaml").write_text(CONFIGURATION.format(redis=redis), encoding="utf-8")
    store = FeatureStore(repo_path=str(folder))
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    frame = pd.read_parquet(values)
    names = [name for name in frame.columns if name not in ("user_id", "event_timestamp")]
    view = FeatureView(
        name="stats",
        entities=[user],
        ttl=timedelta(days=365),
        schema=[Field(name=name, dtype=Float64) for name in names],
        source=FileSource(path=str(values), timestamp_field="event_timestamp"),
    )
    store.apply([user, view])
    store.write_to_online_store("stats", frame)
    server = get_grpc_server(f"127.0.0.1:{port}", store, 10, 3600)
    server.start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)  # Feast's server keeps a timer that nothing ends


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
