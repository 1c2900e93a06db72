from __future__ import annotations

import math

import pyarrow as pa
import pytest

from cluster.errors import Refused
from cluster.records import ROWS_SCHEMA
from cluster.registry.catalog import FeatureSpec
from cluster.serving.online import OnlineAnswer, Status, read_online
from cluster.stores.memory_online import MemoryOnlineStore

NOW = 1_767_225_600_000_000
HOUR = 3_600_000_000


def spec(name: str = "risk_score", *, ttl_us: int | None = None, online: bool = True) -> FeatureSpec:
    return FeatureSpec(name, "risk", "user", "user_id", "features", online, ttl_us, None)


def store(value: float | None, event: int, name: str = "risk_score") -> MemoryOnlineStore:
    filled = MemoryOnlineStore()
    columns = {"entity_id": ["user_1"], "feature_name": [name], "value": [value]}
    times = {"event_timestamp": [event], "created_at": [event], "position": [0]}
    filled.write(pa.table({**columns, **times}).cast(ROWS_SCHEMA))
    return filled


def only(answer: OnlineAnswer) -> tuple[float, Status, int, int]:
    (value,), (status,), (event,), (age,) = (
        column[0] for column in (answer.values, answer.statuses, answer.event_timestamps, answer.ages)
    )
    return float(value), status, int(event), int(age)


def test_present() -> None:
    assert only(read_online(store(0.5, NOW - HOUR), [spec()], ["user_1"], NOW)) == (0.5, Status.PRESENT, NOW - HOUR, HOUR)


def test_a_stored_null() -> None:
    value, status, event, age = only(read_online(store(None, NOW - HOUR), [spec()], ["user_1"], NOW))
    assert math.isnan(value)
    assert (status, event, age) == (Status.NULL_VALUE, NOW - HOUR, HOUR)


@pytest.mark.parametrize(("entity", "feature"), [("user_2", "risk_score"), ("user_1", "user_age")])
def test_an_unknown_pair(entity: str, feature: str) -> None:
    value, *rest = only(read_online(store(0.5, NOW), [spec(feature, ttl_us=1)], [entity], NOW))
    assert math.isnan(value)
    assert rest == [Status.NOT_FOUND, 0, 0]


def test_exactly_as_old_as_the_ttl_still_counts() -> None:
    assert only(read_online(store(0.5, NOW - HOUR), [spec(ttl_us=HOUR)], ["user_1"], NOW))[1] is Status.PRESENT


@pytest.mark.parametrize("stored", [0.5, None])
def test_older_than_the_ttl_is_not_given(stored: float | None) -> None:
    value, *rest = only(read_online(store(stored, NOW - HOUR - 1), [spec(ttl_us=HOUR)], ["user_1"], NOW))
    assert math.isnan(value)
    assert rest == [Status.OUTSIDE_MAX_AGE, NOW - HOUR - 1, HOUR + 1]


def test_an_event_from_the_future_has_no_age() -> None:
    assert only(read_online(store(0.5, NOW + HOUR), [spec(ttl_us=0)], ["user_1"], NOW)) == (0.5, Status.PRESENT, NOW + HOUR, 0)


def test_columns_follow_the_question() -> None:
    answer = read_online(store(0.5, NOW), [spec("user_age"), spec()], ["user_2", "user_1", "user_1"], NOW)
    missing = Status.NOT_FOUND
    assert answer.statuses == [[missing, missing, missing], [missing, Status.PRESENT, Status.PRESENT]]
    assert answer.values[1][1:].tolist() == [0.5, 0.5]


def test_nobody_asked_for() -> None:
    assert read_online(store(0.5, NOW), [spec()], [], NOW).statuses == [[]]


def test_a_feature_that_is_not_online_is_refused_with_the_view_and_the_fix() -> None:
    with pytest.raises(Refused, match=r"'risk_score' of view 'risk' .* online=True .*raytide up"):
        read_online(MemoryOnlineStore(), [spec(online=False)], ["user_1"], NOW)
