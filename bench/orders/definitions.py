"""A wide source with one computed feature. `bench/beside.py` changes FACTOR, so that there is something to compute anew."""

import os

import numpy as np
from numpy.typing import NDArray

from raytide import Entity, FeatureView, Field, StreamSource, Wide, feature

FACTOR = 1.0

orders = StreamSource(
    name="orders",
    topic=os.environ["BENCH_TOPIC"],
    partitions=2,
    records=Wide(join_key="user_id", event_timestamp="at", fields=(Field("amount"),)),
)


@feature(mode="numpy")
def score(amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stand for a function."""
    return amount * FACTOR


users = FeatureView(
    name="users",
    entity=Entity(name="user", join_key="user_id"),
    source=orders,
    features=[score, Field("amount")],
    online=True,
)
