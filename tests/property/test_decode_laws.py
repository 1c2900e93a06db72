"""Whatever comes in: nothing raises, each record is an event or a reject, and no neighbour makes a difference."""

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import IngestConfig
from cluster.ingest.decode import compile_decoder
from cluster.records import Events, Records, Rejected
from cluster.registry.catalog import build
from cluster.registry.definitions import DType, Entity, FeatureView, Field, Long, StreamSource, Wide

NOW = 1_767_225_600_000_000
USER = Entity("user", "user_id")
LONG = StreamSource("long", "long", Long(created_at="made", strict=True))
FIELDS = (
    Field("amount", minimum=-5, optional=True),
    Field("items", DType.INT64, maximum=10),
    Field("currency", DType.STRING, allowed=("EUR", "")),
    Field("gift", DType.BOOL, optional=True),
)
WIDE = StreamSource("wide", "wide", Wide("user_id", "at", FIELDS, timestamp_unit="s"))
CATALOG = build(
    "p",
    [
        FeatureView("v", USER, LONG, [Field("risk", maximum=1), Field("age")]),
        FeatureView("w", USER, WIDE, [Field("amount")]),
    ],
)
DECODERS = [compile_decoder(source, CATALOG, IngestConfig(max_record_bytes=300)) for source in (LONG, WIDE)]

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=2**60, max_value=2**66),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["\ud800", "a\0", "2025-05-01", "2025-02-30T00:00:00Z", 1e300, 10**400, 1_746_093_600]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=3,
)
GOOD_LONG = {"entity_id": "u", "feature_name": "risk", "value": 0.5, "event_timestamp": "2025-05-01T10:00:00Z"}
GOOD_WIDE = {"user_id": "u", "at": 1_746_093_600, "amount": 1, "items": 3, "currency": "EUR"}
NAMES = [*GOOD_LONG, *GOOD_WIDE, "made", "gift", "other"]


def encoded(good: dict[str, Any], changes: dict[str, Any], without: list[str]) -> bytes:
    record = {name: value for name, value in (good | changes).items() if name not in without}
    return json.dumps(record).encode()


objects = st.builds(
    encoded,
    st.sampled_from([GOOD_LONG, GOOD_WIDE]),
    st.dictionaries(st.sampled_from(NAMES), json_values, max_size=2),
    st.lists(st.sampled_from(NAMES), max_size=1),
)
values = st.one_of(objects, st.none(), st.binary(max_size=20), json_values.map(lambda value: json.dumps(value).encode()))


def outcome(events: Events, rejected: list[Rejected]) -> dict[int, Any]:
    """Return what became of each position."""
    columns = {"id": events.entity_id, "at": events.event_timestamp, "made": events.created_at, **events.columns}
    rows = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    became: dict[int, Any] = dict(zip(events.position.to_pylist(), rows, strict=True))
    for reject in rejected:
        assert reject.position not in became
        became[reject.position] = reject
    return became


def records_of(some: list[bytes | None], first: int = 0) -> Records:
    count = len(some)
    positions = first + np.arange(count)
    return Records(first, first + count, positions, some, NOW - 1000 + positions)


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=8), st.sampled_from(DECODERS))
def test_a_record_becomes_the_same_alone_as_among_others(some: list[bytes | None], decode: Any) -> None:
    together = outcome(*decode(records_of(some), NOW))
    alone: dict[int, Any] = {}
    for index, value in enumerate(some):
        alone |= outcome(*decode(records_of([value], index), NOW))
    assert together == alone
    assert together.keys() == set(range(len(some)))


@settings(max_examples=50, deadline=None)
@given(st.lists(values, max_size=8), st.sampled_from(DECODERS))
def test_rejects_come_in_position_order_with_their_bytes(some: list[bytes | None], decode: Any) -> None:
    _, rejected = decode(records_of(some), NOW)
    assert [reject.position for reject in rejected] == sorted(reject.position for reject in rejected)
    assert [reject.payload for reject in rejected] == [some[reject.position] for reject in rejected]
