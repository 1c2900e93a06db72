from __future__ import annotations

import math

import pyarrow as pa
import pytest
from featurestore.v1 import features_pb2

from cluster.errors import Refused
from cluster.records import ROWS_SCHEMA
from cluster.registry.catalog import FeatureSpec
from cluster.serving.online import STATUSES, OnlineAnswer, OnlineFeatureSet, Status
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import OnlineStore

NOW = 1_767_225_600_000_000
HOUR = 3_600_000_000


def spec(name: str = "risk_score", *, ttl_us: int | None = None, online: bool = True) -> FeatureSpec:
    return FeatureSpec(name, "risk", "user", "user_id", "features", online, ttl_us, None)


def store(value: float | None, event: int, *names: str) -> MemoryOnlineStore:
    filled = MemoryOnlineStore()
    for name in names or ("risk_score",):
        columns = {"entity_id": ["user_1"], "feature_name": [name], "value": [value]}
        times = {"event_timestamp": [event], "created_at": [event], "position": [0]}
        filled.write(pa.table({**columns, **times}).cast(ROWS_SCHEMA))
    return filled


def read_online(store: OnlineStore, specs: list[FeatureSpec], entity_ids: list[str], now_us: int) -> OnlineAnswer:
    features = OnlineFeatureSet.of(specs)
    return features.judge(store.read(entity_ids, features.names), now_us)


def named(answer: OnlineAnswer) -> list[list[Status]]:
    return [[STATUSES[number - 1] for number in row] for row in answer.statuses.tolist()]


def only(answer: OnlineAnswer) -> tuple[float, Status, int, int]:
    ((status,),) = named(answer)
    return answer.values.item(), status, answer.event_timestamps.item(), answer.ages.item()


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
    assert named(answer) == [[missing, missing, missing], [missing, Status.PRESENT, Status.PRESENT]]
    assert answer.values[1][1:].tolist() == [0.5, 0.5]


def test_nobody_asked_for() -> None:
    assert named(read_online(store(0.5, NOW), [spec()], [], NOW)) == [[]]


def test_a_value_that_is_not_present_is_nan_and_the_store_keeps_what_it_gave() -> None:
    stored = store(0.5, NOW - HOUR).read(["user_1"], ["risk_score"])
    answer = OnlineFeatureSet.of([spec(ttl_us=1)]).judge(stored, NOW)
    assert math.isnan(answer.values.item())
    assert stored.values.item() == 0.5


def test_each_view_has_its_own_ttl() -> None:
    filled = store(0.5, NOW - HOUR, "risk_score", "user_age")
    answer = read_online(filled, [spec(ttl_us=1), spec("user_age")], ["user_1"], NOW)
    assert named(answer) == [[Status.OUTSIDE_MAX_AGE], [Status.PRESENT]]


def test_numbers_are_those_of_both_protocols() -> None:
    for status in Status:
        assert status.number == features_pb2.FeatureStatus.Value(f"FEATURE_STATUS_{status}")


def test_a_feature_that_is_not_online_is_refused_with_the_view_and_the_fix() -> None:
    with pytest.raises(Refused, match=r"'risk_score' of view 'risk' .* online=True .*raytide apply"):
        read_online(MemoryOnlineStore(), [spec(online=False)], ["user_1"], NOW)
