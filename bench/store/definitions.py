"""The demo's `features` source with all five features online, so that both sinks get all of them."""

import os

from raytide import Entity, FeatureView, Field, Long, StreamSource

features = StreamSource(
    name="features",
    topic=os.environ["BENCH_TOPIC"],
    partitions=2,
    records=Long(event_timestamp="validated_at", created_at="created_at"),
)

users = FeatureView(
    name="users",
    entity=Entity(name="user", join_key="user_id"),
    source=features,
    features=[Field(f"feature_{n}") for n in range(5)],
    online=True,
)
