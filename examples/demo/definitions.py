"""What the demo knows about users, from two topics.

A record of raytide.features, one finished value, and a record of raytide.orders, facts to compute features from:

    {"entity_id": "user_1", "feature_name": "risk_score", "value": 0.2,
     "validated_at": "2026-01-31T12:00:00Z", "created_at": "2026-01-31T12:00:01Z"}
    {"order_id": "o-1", "user_id": "user_1", "amount": 9.5, "currency": "USD", "timestamp": "2026-01-31T12:00:00Z"}
"""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raytide import Aggregation, DType, Entity, FeatureService, FeatureView, Field, Long, StreamSource, Wide, feature

user = Entity(name="user", join_key="user_id")

# 1. Finished values: a long source carries one feature in each record.

features = StreamSource(
    name="features",
    topic="raytide.features",
    partitions=2,
    records=Long(event_timestamp="validated_at", created_at="created_at"),
)

account = FeatureView(
    name="account",
    entity=user,
    source=features,
    features=[Field("account_balance"), Field("risk_score")],
    online=True,  # the newest value also goes to Redis
    ttl=timedelta(days=30),
)

behaviour = FeatureView(
    name="behaviour",
    entity=user,
    source=features,
    features=[
        Field("search_count_7d"),  # counted by whoever sends it
        Field("session_seconds"),
        Field("user_age"),
        Aggregation("session_seconds", "count", timedelta(days=7), name="session_count_7d"),  # counted here, when it is read
    ],
)

activity = FeatureView(
    name="activity",
    entity=user,
    source=features,
    features=[
        Field("click"),  # 1 for each click
        Aggregation("click", "count", timedelta(days=7)),  # click_count_7d, counted here, and the same online and in training
    ],
    online=True,
    ttl=timedelta(days=30),
)

# 2. Facts to compute features from: a wide source has a column for each fact.

IN_EUR = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17, "CHF": 1.04}

orders = StreamSource(
    name="orders",
    topic="raytide.orders",
    partitions=2,
    records=Wide(
        join_key="user_id",
        event_timestamp="timestamp",
        fields=(
            Field("order_id", DType.STRING),
            Field("amount", minimum=0),
            Field("currency", DType.STRING, allowed=tuple(IN_EUR)),
        ),
    ),
)


@feature(mode="pandas")
def amount_eur(amount: "pd.Series[float]", currency: "pd.Series[str]") -> "pd.Series[float]":
    """Parameter names say where inputs come from: here, columns of the source."""
    return amount * currency.map(IN_EUR)


@feature(mode="numpy")
def amount_eur_log(amount_eur: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take another feature by its name."""
    return np.log1p(amount_eur)


@feature(mode="row")
def is_weekend(timestamp: datetime) -> bool:
    """Look at one order at a time."""
    return timestamp.isoweekday() in {6, 7}


order = FeatureView(
    name="order",
    entity=user,
    source=orders,
    features=[amount_eur, amount_eur_log, is_weekend],
    online=True,
    ttl=timedelta(days=7),
)

# 3. What a model reads together.

fraud_v1 = FeatureService(name="fraud_v1", features=[account, order])
