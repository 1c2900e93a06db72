"""What the shop knows about its users, from the orders that they place.

An order, as a message of the topic shop.orders or as a row of orders.csv:

    {"user_id": "user_1", "amount": 9.5, "currency": "USD", "timestamp": "2026-01-31T12:00:00Z"}
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from raytide import DType, Entity, FeatureService, FeatureView, Field, StreamSource, Wide, feature

# 1. What features describe. The join key is the column that names a user.

user = Entity(name="user", join_key="user_id")

# 2. Where records come from. A record that does not fit is kept aside with the reason: `raytide dead-letters list`.

IN_EUR = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17}
LARGE_EUR = 100

orders = StreamSource(
    name="orders",
    topic="shop.orders",
    records=Wide(
        join_key="user_id",
        event_timestamp="timestamp",
        fields=(Field("amount", minimum=0), Field("currency", DType.STRING, allowed=tuple(IN_EUR))),
    ),
)

# 3. Features. A parameter's name says what it is: a column of the source, or another feature.


@feature(mode="pandas")
def amount_eur(amount: "pd.Series[float]", currency: "pd.Series[str]") -> "pd.Series[float]":
    """What the order cost: many orders at once, as pandas Series."""
    return amount * currency.map(IN_EUR)


@feature(mode="numpy")
def amount_eur_log(amount_eur: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same on a scale for models: many orders at once, as NumPy arrays."""
    return np.log1p(amount_eur)


@feature(mode="row")
def is_large(amount_eur: float | None) -> bool:
    """Whether it was a large order: one order at a time."""
    return amount_eur is not None and amount_eur > LARGE_EUR


# 4. Features of one entity from one source, kept together.

order = FeatureView(
    name="order",
    entity=user,
    source=orders,
    features=[amount_eur, amount_eur_log, is_large],
    online=True,  # the newest values also go to Redis
    ttl=None,  # or timedelta(days=7): older values are not served any more
)

# 5. What a model reads together.

shop_v1 = FeatureService(name="shop_v1", features=[order])
