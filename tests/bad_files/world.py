"""The sources that bad files are sent to, and what a good row of them is in each format."""

from __future__ import annotations

from cluster.config import IngestConfig
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, FileSource, Long, Wide, feature
from tests.file_world import Row

MAX_RECORD_BYTES = 2_000
INGEST = IngestConfig(max_record_bytes=MAX_RECORD_BYTES, transform_timeout_s=0.2)
USER = Entity("user", "user_id")


@feature(maximum=1000)
def ratio(amount: float, count: float) -> float:
    return amount / count


@feature()
def patience(seconds: float) -> float:
    while seconds:
        pass
    return seconds


FEATURES = FileSource("features", Long())
STRICT = FileSource("strict", Long(strict=True, created_at="known_at"))
ORDERS = FileSource(
    "orders",
    Wide(
        join_key="user_id",
        event_timestamp="at",
        timestamp_unit="ms",
        fields=(
            Field("amount", minimum=0),
            Field("count", DType.INT64),
            Field("paid", DType.BOOL, optional=True),
            Field("kind", DType.STRING, optional=True, allowed=("a", "b")),
        ),
    ),
)
SLOW = FileSource("slow", Wide("user_id", "at", (Field("seconds"), Field("note", DType.STRING, optional=True))))
CATALOG = build(
    "corpus",
    [
        FeatureView("person", USER, FEATURES, [Field("age", maximum=150), Field("score")]),
        FeatureView("strict_person", USER, STRICT, [Field("height")]),
        FeatureView("order", USER, ORDERS, [ratio]),
        FeatureView("waiting", USER, SLOW, [patience]),
    ],
).registered_as(1)

TIME = "2024-05-01T10:00:00Z"
TIME_US = 1_714_557_600_000_000

#: A good record of each source; the entity says which.
GOOD: dict[str, dict[str, object]] = {
    "features": {"entity_id": "u", "feature_name": "age", "value": 1.5, "event_timestamp": TIME},
    "strict": {"entity_id": "u", "feature_name": "height", "value": 1.5, "event_timestamp": TIME, "known_at": TIME},
    "orders": {"user_id": "u", "at": TIME, "amount": 3.0, "count": 2, "paid": True, "kind": "a"},
    "slow": {"user_id": "u", "at": TIME, "seconds": 0.0, "note": "x"},
}
_VALUES = {"features": ("age", 1.5), "strict": ("height", 1.5), "orders": ("ratio", 1.5), "slow": ("patience", 0.0)}


def key_of(source: str) -> str:
    """Return the name of the column with the entity."""
    return next(iter(GOOD[source]))


def good(source: str, position: int) -> dict[str, object]:
    """Return a good record for a position in its file."""
    return {**GOOD[source], key_of(source): f"u{position}"}


def good_row(source: str, position: int) -> Row:
    """Return the feature row that it becomes."""
    name, value = _VALUES[source]
    return Row(position, f"u{position}", name, value, TIME_US)
