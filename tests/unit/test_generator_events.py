from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import Misconfigured
from generator import flaws
from generator.batcher import Batcher
from generator.events import CURRENCIES, FeatureEvent, Message, OrderEvent, messages
from generator.profiles import FEATURES, FEATURES_TOPIC, ORDERS_TOPIC, PROFILES, Profile, Settings
from generator.schedule import due_times

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
RICH = Profile(rate=100, orders=0.3, bad=0.1, late=0.1, duplicate=0.1, out_of_order=0.1, null=0.05)


def plan(profile: Profile = RICH, **changes: Any) -> Settings:
    return replace(Settings("nowhere:1", profile=profile, start=START), **changes)


def first(count: int, of: Settings, producer: int = 0) -> list[Message]:
    return list(islice(messages(of, producer), count))


@settings(max_examples=20, deadline=None)
@given(st.integers(), st.integers(0, 3), st.sampled_from(sorted(PROFILES)))
def test_the_seed_decides_everything(seed: int, producer: int, profile: str) -> None:
    same = plan(PROFILES[profile], seed=seed, producers=4)
    assert first(50, same, producer) == first(50, same, producer)
    assert first(50, same, producer) != first(50, replace(same, seed=seed + 1), producer)


def test_ids_are_unique_but_for_duplicates_which_are_the_same_bytes() -> None:
    sent = [message for producer in (0, 1) for message in first(2_000, plan(), producer)]
    by_id: dict[str, list[Message]] = {}
    for message in sent:
        by_id.setdefault(message.message_id, []).append(message)
    repeated = [group for group in by_id.values() if len(group) > 1]
    assert sum(len(group) - 1 for group in repeated) == sum(message.duplicate for message in sent) > 300
    for group in repeated:
        assert {(m.topic, m.key, m.value) for m in group} == {(group[0].topic, group[0].key, group[0].value)}
        assert [m.duplicate for m in group] == [False] + [True] * (len(group) - 1)


def test_shares_are_kept() -> None:
    sent = first(10_000, plan())
    share = Counter(
        {
            "bad": sum(bool(m.flaw) for m in sent),
            "duplicate": sum(m.duplicate for m in sent),
            "late": sum(m.late for m in sent),
            "out_of_order": sum(m.out_of_order for m in sent),
        },
    )
    assert all(700 < count < 1_300 for count in share.values()), share
    assert 2_500 < sum(m.topic == ORDERS_TOPIC for m in sent) < 3_500
    assert all((m.event is None) == bool(m.flaw) for m in sent)


def test_good_messages_say_what_their_event_says() -> None:
    for message in first(1_000, plan()):
        if message.event is None:
            continue
        assert message.value is not None
        fields = json.loads(message.value)
        if isinstance(message.event, FeatureEvent):
            assert set(fields) == {"id", "entity_id", "feature_name", "value", "validated_at", "created_at"}
            assert (fields["id"], fields["entity_id"]) == (message.message_id, message.key.decode())
            assert fields["feature_name"] in FEATURES
            assert datetime.fromisoformat(fields["validated_at"]) == message.event.validated_at
        else:
            assert set(fields) == {"order_id", "user_id", "amount", "currency", "timestamp"}
            assert fields["currency"] in CURRENCIES
            assert (fields["user_id"], fields["amount"] > 0) == (message.key.decode(), True)


def test_times_are_when_they_are_due_unless_late_or_out_of_order() -> None:
    for message in first(1_000, plan()):
        event = message.event
        if event is None or message.duplicate:
            continue
        time = event.validated_at if isinstance(event, FeatureEvent) else event.timestamp
        behind = START + timedelta(seconds=message.due_s) - time
        if message.late:
            assert behind >= timedelta(hours=1)
        elif message.out_of_order:
            assert timedelta(0) < behind <= timedelta(seconds=5)
        else:
            assert behind == timedelta(0)
        if isinstance(event, FeatureEvent):
            assert event.created_at == START + timedelta(seconds=message.due_s)


def test_every_entity_gets_every_feature_from_one_producer() -> None:
    seen = [{m.event for m in first(300, plan(Profile(), entities=100), p)} for p in (0, 1)]
    pairs = [{(e.entity_id, e.feature_name) for e in events if isinstance(e, FeatureEvent)} for events in seen]
    assert len(pairs[0]) == len(pairs[1]) == 300
    assert {entity for entity, _ in pairs[0]}.isdisjoint(entity for entity, _ in pairs[1])
    assert {entity for entity, _ in pairs[0] | pairs[1]} == {f"user_{n}" for n in range(1, 101)}


def test_more_producers_than_entities() -> None:
    assert {m.key for m in first(20, plan(Profile(), entities=2, producers=5), 4)} == {b"user_1"}


def test_skew_prefers_few() -> None:
    keys = Counter(m.key for m in first(5_000, plan(Profile(skew=1.2), producers=1)))
    assert keys[b"user_1"] > 10 * keys[b"user_50"] > 0


def test_features_can_be_others() -> None:
    names = [m.event.feature_name for m in first(4, plan(Profile(), features=("a", "b"))) if isinstance(m.event, FeatureEvent)]
    assert names == ["a", "b", "a", "b"]


def test_nulls_only_if_asked_for() -> None:
    def nulls(profile: Profile) -> int:
        return sum(isinstance(m.event, FeatureEvent) and m.event.value is None for m in first(500, plan(profile)))

    assert nulls(Profile()) == 0
    assert 200 < nulls(Profile(null=0.5)) < 300


def test_bad_messages_go_through_all_flaws_in_turn() -> None:
    sent = first(200, plan(Profile(bad=1.0, orders=0.5)))
    for topic, ways in ((FEATURES_TOPIC, flaws.LONG), (ORDERS_TOPIC, flaws.WIDE)):
        of_topic = [m.flaw for m in sent if m.topic == topic]
        assert of_topic[: len(ways)] == list(ways)


@pytest.mark.parametrize("name", sorted(flaws.LONG))
def test_a_flaw_is_what_its_name_says(name: str) -> None:
    good = {"id": "i", "entity_id": "user_1", "feature_name": "risk_score", "value": 0.5, "validated_at": START}
    value = flaws.LONG[name](good)
    without_json = {"empty_message": b"", "tombstone": None}
    if name in without_json:
        assert value == without_json[name]
        return
    assert value is not None
    if name in {"broken_json", "invalid_utf8"}:
        with pytest.raises(ValueError, match=r"."):  # both errors of json are ValueErrors
            json.loads(value)
        return
    read: Any = json.loads(value) if name != "deep_nesting" else None
    expected: dict[str, Any] = {
        "not_an_object": lambda: isinstance(read, list),
        "missing_entity": lambda: "entity_id" not in read,
        "missing_time": lambda: "validated_at" not in read,
        "missing_feature": lambda: "feature_name" not in read,
        "wrong_type": lambda: isinstance(read["value"], list),
        "nan_token": lambda: read["value"] != read["value"],
        "nan_text": lambda: read["value"] == "NaN",
        "infinite": lambda: read["value"] == float("inf"),
        "empty_entity": lambda: read["entity_id"] == "",
        "long_entity": lambda: len(read["entity_id"]) > 256,
        "control_character": lambda: not read["entity_id"].isprintable(),
        "time_garbage": lambda: not read["validated_at"][:1].isdigit(),
        "far_future": lambda: datetime.fromisoformat(read["validated_at"]) > START + timedelta(days=3000),
        "unknown_feature": lambda: read["feature_name"] not in FEATURES,
        "deep_nesting": lambda: value.count(b"[") == 5_000,
    }
    assert expected[name]()


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 10_000), st.integers(1, 5))
def test_a_rate_is_kept_by_all_producers_together(rate: float, producers: int) -> None:
    due = [t for p in range(producers) for t in takewhile(lambda t: t < 1, due_times(Profile(rate=rate), p, producers))]
    assert abs(len(due) - rate) <= 2 + rate * 1e-9
    assert len(set(due)) == len(due)


def test_bursts_come_and_go() -> None:
    due = list(takewhile(lambda t: t < 20, due_times(PROFILES["burst"], 0, 1)))
    seconds = Counter(int(t) for t in due)
    assert [round(seconds[s], -2) for s in (0, 1, 2, 9, 10, 11, 12)] == [5000, 5000, 200, 200, 5000, 5000, 200]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.lists(st.floats(0, 3), max_size=30))
def test_a_batch_is_never_too_large_nor_too_old(size: int, gaps: list[float]) -> None:
    batcher, now, out, added = Batcher(size, 2.0), 0.0, [], first(len(gaps), plan())
    for message, gap in zip(added, gaps, strict=True):
        now += gap
        if now >= batcher.deadline:  # a caller looks again at the deadline
            out.append(batcher.take(batcher.deadline))
            assert out[-1]
        batcher.add(message, now)
        taken = batcher.take(now)
        assert len(taken) in {0, size}
        out.append(taken)
    out.append(batcher.take_all())
    assert [message for batch in out for message in batch] == added
    assert max(map(len, out)) <= size
    assert batcher.take_all() == []


@pytest.mark.parametrize(
    "wrong",
    [{"bad": 0.6, "duplicate": 0.6}, {"late": 0.9, "out_of_order": 0.2}, {"rate": -1}, {"orders": 1.5}],
)
def test_a_profile_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Misconfigured):
        Profile(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"entities": 0},
        {"features": ()},
        {"batch_seconds": 0},
        {"count": -1},
        {"file_bytes": 0},
        {"file_kinds": ("xml",)},
        {"file_ways": ()},
        {"start": datetime(2026, 1, 1)},  # noqa: DTZ001 - the wrong one
    ],
)
def test_settings_that_cannot_be_run_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        plan(**wrong)


def test_an_order_is_an_order() -> None:
    (message,) = first(1, plan(Profile(orders=1.0)))
    assert isinstance(message.event, OrderEvent)
    assert message.message_id == message.event.order_id
