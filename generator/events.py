"""From a seed to messages: pure, and the same each time."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from generator import flaws
from generator.profiles import FEATURES_TOPIC, ORDERS_TOPIC, Settings
from generator.schedule import due_times

CURRENCIES = ("EUR", "USD", "GBP", "CHF")
_CAN_BE_REPEATED = 50

_VALUES: Mapping[str, Callable[[random.Random], float]] = {
    "click": lambda _rng: 1.0,
    "search_count_7d": lambda rng: float(int(rng.expovariate(1 / 40))),
    "user_age": lambda rng: float(rng.randint(18, 90)),
    "account_balance": lambda rng: round(rng.lognormvariate(6, 1.5), 2),
    "session_seconds": lambda rng: round(rng.expovariate(1 / 300), 1),
    "risk_score": lambda rng: round(rng.betavariate(2, 8), 4),
}


def _any_value(rng: random.Random) -> float:
    return round(rng.uniform(0, 1000), 3)


class FeatureEvent(msgspec.Struct, frozen=True):
    """A long record: one feature of one entity. Times are UTC."""

    id: str
    entity_id: str
    feature_name: str
    value: float | None
    validated_at: datetime
    created_at: datetime


class OrderEvent(msgspec.Struct, frozen=True):
    """A wide record: one order of one user."""

    order_id: str
    user_id: str
    amount: float
    currency: str
    timestamp: datetime


Event = FeatureEvent | OrderEvent


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to Kafka `due_s` after the start. `event` is None, and `flaw` says why, when it is bad.

    A duplicate is the same bytes under the same id as an earlier message of the same producer.
    """

    due_s: float
    topic: str
    key: bytes
    value: bytes | None
    message_id: str
    event: Event | None
    flaw: str = ""
    late: bool = False
    out_of_order: bool = False
    duplicate: bool = False


class Delay(NamedTuple):
    """How far an event's time lies before the time when it is sent, and what that is called."""

    by: timedelta
    late: bool = False
    out_of_order: bool = False


_NO_DELAY = Delay(timedelta(0))


class Entities:
    """Chooses who an event is about. Each producer has entities of its own, so that each one's events stay in order."""

    def __init__(self, settings: Settings, producer: int, rng: random.Random) -> None:
        own = range(producer, settings.entities, settings.producers) or (producer % settings.entities,)
        self._names = [f"user_{number + 1}" for number in own]
        self._skew, self._rng = settings.profile.skew, rng
        weights = (1 / rank**self._skew for rank in range(1, len(self._names) + 1))
        self._weights = list(itertools.accumulate(weights))

    def choose(self, turn: int) -> str:
        """Return the entity of a turn; a turn is one event for each feature."""
        if not self._skew:
            return self._names[turn % len(self._names)]
        return self._rng.choices(self._names, cum_weights=self._weights)[0]


class Maker:
    """Makes the events of one producer, or of one file, in order."""

    def __init__(self, settings: Settings, producer: int, purpose: str) -> None:
        self._settings, self._profile = settings, settings.profile
        self.rng = random.Random(f"{settings.seed}/{purpose}/{producer}")
        self._entities = Entities(settings, producer, self.rng)

    def make_id(self) -> str:
        """Return a UUID that the seed decides."""
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def feature(self, turn: int, event_time: datetime, created_at: datetime) -> FeatureEvent:
        """Return the long event of a turn: features cycle, then entities."""
        cycle, which = divmod(turn, len(self._settings.features))
        name = self._settings.features[which]
        value = None if self.happens(self._profile.null) else _VALUES.get(name, _any_value)(self.rng)
        return FeatureEvent(self.make_id(), self._entities.choose(cycle), name, value, event_time, created_at)

    def order(self, turn: int, event_time: datetime) -> OrderEvent:
        """Return the wide event of a turn."""
        amount = round(self.rng.lognormvariate(3.5, 1), 2)
        return OrderEvent(self.make_id(), self._entities.choose(turn), amount, self.rng.choice(CURRENCIES), event_time)

    def happens(self, share: float) -> bool:
        """Say whether something that happens to this share of the messages happens now."""
        return share > 0 and self.rng.random() < share

    def delay(self) -> Delay:
        """Return how the event's time lies before its turn."""
        draw = self.rng.random()
        if draw < self._profile.late:
            return Delay(timedelta(seconds=self.rng.uniform(3_600, 30 * 86_400)), late=True)
        if draw < self._profile.late + self._profile.out_of_order:
            return Delay(timedelta(seconds=self.rng.uniform(0.1, 5)), out_of_order=True)
        return _NO_DELAY


def messages(settings: Settings, producer: int) -> Iterator[Message]:
    """Yield what one producer sends, without end, in the order and at the times in which it does."""
    maker, profile = Maker(settings, producer, "stream"), settings.profile
    spoil, fresh = _Spoiler(), _fresh(settings, maker)
    recent: deque[Message] = deque(maxlen=_CAN_BE_REPEATED)
    for due in due_times(profile, producer, settings.producers):
        draw = maker.rng.random()
        if recent and profile.bad <= draw < profile.bad + profile.duplicate:
            yield replace(maker.rng.choice(recent), due_s=due, duplicate=True, late=False, out_of_order=False)
        elif draw < profile.bad:
            yield spoil(fresh(due))
        else:
            message = fresh(due)
            recent.append(message)
            yield message


def _fresh(settings: Settings, maker: Maker) -> Callable[[float], Message]:
    """Return what makes the next good message of either topic for a given second."""
    encode = msgspec.json.Encoder().encode
    feature_turns, order_turns = itertools.count(), itertools.count()

    def fresh(due: float) -> Message:
        now, delay = settings.start + timedelta(seconds=due), maker.delay()
        if maker.happens(settings.profile.orders):
            order = maker.order(next(order_turns), now - delay.by)
            return Message(due, ORDERS_TOPIC, order.user_id.encode(), encode(order), order.order_id, order, "", *delay[1:])
        row = maker.feature(next(feature_turns), now - delay.by, now)
        return Message(due, FEATURES_TOPIC, row.entity_id.encode(), encode(row), row.id, row, "", *delay[1:])

    return fresh


class _Spoiler:
    """Makes messages bad, in each way in turn, so that even few bad ones cover many reasons."""

    def __init__(self) -> None:
        self._ways = {FEATURES_TOPIC: itertools.cycle(flaws.LONG.items()), ORDERS_TOPIC: itertools.cycle(flaws.WIDE.items())}

    def __call__(self, message: Message) -> Message:
        name, flaw = next(self._ways[message.topic])
        fields = msgspec.structs.asdict(message.event) if message.event else {}
        return replace(message, value=flaw(fields), event=None, flaw=name, late=False, out_of_order=False)
