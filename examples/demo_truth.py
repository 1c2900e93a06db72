"""What the demo sent, and the answers that follow from it: plain Python, a list and a scan, no Raytide code.

The demo compares every answer of the stores with this, so that an error would have to be made twice to go unseen.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from generator.events import FeatureEvent, OrderEvent
from generator.tally import Sent, UploadResult

EUR = {"EUR": 1.0, "USD": 0.92, "GBP": 1.17, "CHF": 1.04}
TTL = {
    **dict.fromkeys(("account_balance", "risk_score", "click"), timedelta(days=30)),
    **dict.fromkeys(("amount_eur", "amount_eur_log", "is_weekend"), timedelta(days=7)),
}
ONLINE = tuple(TTL)
FEATURES = (*ONLINE, "search_count_7d", "session_seconds", "user_age")
#: What each window of seven days counts.
WINDOWS = {"session_count_7d": "session_seconds", "click_count_7d": "click"}
CLICKS = "click_count_7d"


@dataclass(frozen=True, slots=True)
class Value:
    """A feature's value and the two times that order it; `turn` is the order of arrival among equals."""

    value: float | None
    event_time: datetime
    created_at: datetime
    turn: int

    @property
    def order(self) -> tuple[datetime, datetime, int]:
        """Return what newest means."""
        return self.event_time, self.created_at, self.turn


@dataclass
class Truth:
    """Collects what Kafka and the gateway acknowledged."""

    values: dict[tuple[str, str], list[Value]] = field(default_factory=lambda: defaultdict(list))
    streamed: dict[tuple[str, int, int], dict[str, tuple[str, float | None]]] = field(default_factory=dict)
    flawed: set[tuple[str, int, int]] = field(default_factory=set)
    uploaded: dict[str, UploadResult] = field(default_factory=dict)

    def observe(self, sent: Sent) -> None:
        """Take a message that Kafka acknowledged."""
        position = (sent.topic, sent.partition, sent.offset)
        if sent.event is None:
            self.flawed.add(position)
            return
        rows = list(rows_of(sent.event, sent.offset))
        self.streamed[position] = {name: (entity, value.value) for entity, name, value in rows}
        self._add(rows)

    def take(self, uploads: Iterable[UploadResult]) -> None:
        """Take the files of a run."""
        for upload in uploads:
            self.uploaded[upload.upload_id] = upload
            for number, event in enumerate(upload.events):
                if event is not None:
                    self._add(rows_of(event, number))

    def newest(self, entity: str, feature: str) -> Value | None:
        """Return the value that is online, or None."""
        return max(self.values.get((entity, feature), ()), key=lambda v: v.order, default=None)

    def as_of(self, entity: str, feature: str, at: datetime) -> float | None:
        """Return the value as it was at `at`: nothing of later, nothing older than the view's ttl."""
        known = [v for v in self.values.get((entity, feature), ()) if v.event_time <= at]
        last = max(known, key=lambda v: v.order, default=None)
        if last is None or at - last.event_time > TTL.get(feature, timedelta.max):
            return None
        return last.value

    def in_a_week(self, entity: str, feature: str, at: datetime) -> int:
        """Return how many values there were in the seven days before `at`, which begin at a full hour."""
        edge = (at - timedelta(days=7)).replace(minute=0, second=0, microsecond=0)
        values = self.values.get((entity, feature), ())
        return sum(value.value is not None and edge < value.event_time <= at for value in values)

    def questions(self, count: int, seed: int = 7) -> list[tuple[str, datetime]]:
        """Return entities and times to ask for: exactly at events, just before them, and anywhere between."""
        rng = random.Random(seed)  # noqa: S311 - which questions are asked is no secret
        events = [(entity, value.event_time) for (entity, _), values in self.values.items() for value in values]
        steps = (timedelta(0), timedelta(microseconds=-1), timedelta(seconds=1))
        return [(entity, time + rng.choice(steps)) for entity, time in rng.choices(events, k=count)]

    def _add(self, rows: Iterable[tuple[str, str, Value]]) -> None:
        for entity, name, value in rows:
            self.values[entity, name].append(value)


def rows_of(event: FeatureEvent | OrderEvent, turn: int) -> Iterator[tuple[str, str, Value]]:
    """Return the feature rows that an event should become."""
    if isinstance(event, FeatureEvent):
        yield event.entity_id, event.feature_name, Value(event.value, event.validated_at, event.created_at, turn)
        return
    euro = event.amount * EUR[event.currency]
    computed = {
        "amount_eur": euro,
        "amount_eur_log": math.log1p(euro),
        "is_weekend": float(event.timestamp.isoweekday() in {6, 7}),
    }
    for name, value in computed.items():
        yield event.user_id, name, Value(value, event.timestamp, event.timestamp, turn)
