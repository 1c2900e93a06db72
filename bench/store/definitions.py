"""The demo's `features` source with all five features online, so that both sinks get all of them."""

import os
from datetime import timedelta

from raytide import Aggregation, Entity, FeatureView, Field, Long, StreamSource

features = StreamSource(
    name="features",
    topic=os.environ["BENCH_TOPIC"],
    partitions=2,
    records=Long(event_timestamp="validated_at", created_at="created_at"),
)

# For bench/windows_online.py: so many windows, each of another input, are kept online as well.
FUNCTIONS = ("count", "sum", "mean", "max", "last")
WINDOWS = [
    Aggregation(f"feature_{n}", FUNCTIONS[n], timedelta(days=7)) for n in range(int(os.environ.get("BENCH_AGGREGATIONS", "0")))
]

users = FeatureView(
    name="users",
    entity=Entity(name="user", join_key="user_id"),
    source=features,
    features=[*(Field(f"feature_{n}") for n in range(5)), *WINDOWS],
    online=True,
)
