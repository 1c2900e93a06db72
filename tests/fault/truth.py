"""What must be in the stores: the events that Kafka or the gateway acknowledged, a dictionary and a maximum.

Nothing of Raytide's path is used here. `examples/demo_truth.py` says which rows an event becomes.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from examples.demo_truth import ONLINE, rows_of
from generator.events import FeatureEvent, OrderEvent
from generator.tally import Sent

Place = tuple[str, int]  # topic, partition
Row = tuple[str, str, float | None, int, int | None]  # entity, feature, value, event time in µs, created if the event says
Key = tuple[str, str]  # entity, feature
Newest = tuple[int, int, float | None]  # event time in µs, position, value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """Return a time as µs since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Reject:
    """A record that must be in quarantine, as it was sent."""

    payload: bytes | None


@dataclass(frozen=True)
class Upload:
    """A file that was sent until it was DONE; `rows` by row number, None for a bad one."""

    upload_id: str
    rows: tuple[tuple[Row, ...] | None, ...]


@dataclass
class Truth:
    """Any thread may add to it. Records that have been judged are forgotten, what is newest is not."""

    records: dict[Place, dict[int, tuple[Row, ...] | Reject]] = field(default_factory=lambda: defaultdict(dict))
    uploads: list[Upload] = field(default_factory=list)
    newest: dict[Key, dict[str, Newest]] = field(default_factory=lambda: defaultdict(dict))
    clicks: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # event times, by entity
    acknowledged: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, sent: Sent) -> None:
        """Take a message that Kafka acknowledged."""
        self.take(sent.topic, sent.partition, sent.offset, sent.event or Reject(sent.value))

    def take(self, topic: str, partition: int, offset: int, found: FeatureEvent | OrderEvent | Reject) -> None:
        """Take a record that Kafka has."""
        with self.lock:
            self.acknowledged += 1
            rows = found if isinstance(found, Reject) else expected(found)
            self.records[topic, partition][offset] = rows
            if not isinstance(rows, Reject):
                self._renew(f"{topic}[{partition}]", offset, rows)

    def uploaded(self, upload_id: str, events: Iterable[FeatureEvent | None]) -> None:
        """Take a file that is DONE."""
        rows = tuple(expected(event) if event is not None else None for event in events)
        with self.lock:
            self.uploads.append(Upload(upload_id, rows))
            for number, row in enumerate(rows):
                if row is not None:
                    self._renew(upload_id, number, row)

    def online(self) -> dict[Key, tuple[int, set[float | None]]]:
        """Return what Redis must hold: the newest time of each key, and the values that may stand for it.

        Positions of different sources do not compare, so among equal times the last value of any source will do.
        """
        with self.lock:
            return {key: _accepted(list(by_source.values())) for key, by_source in self.newest.items()}

    def in_a_week(self, entity: str, at: int) -> int:
        """Return how many clicks there were in the seven days before a time in µs, which begin at a full hour."""
        hour = 3_600_000_000
        edge = (at - 7 * 24 * hour) // hour * hour
        with self.lock:
            return sum(edge < click <= at for click in self.clicks.get(entity, ()))

    def _renew(self, source: str, position: int, rows: tuple[Row, ...]) -> None:
        for entity, feature, value, time, _ in rows:
            if feature == "click" and value is not None:
                self.clicks[entity].append(time)
            if feature in ONLINE:
                known = self.newest[entity, feature].get(source)
                if known is None or (time, position) >= known[:2]:
                    self.newest[entity, feature][source] = (time, position, value)


def expected(event: FeatureEvent | OrderEvent) -> tuple[Row, ...]:
    """Return the feature rows of an event, in a fixed order. An order does not say when it became known: Kafka does."""
    created = microseconds(event.created_at) if isinstance(event, FeatureEvent) else None
    rows = ((entity, name, v.value, microseconds(v.event_time), created) for entity, name, v in rows_of(event, 0))
    return tuple(sorted(rows, key=str))


def _accepted(newest: list[Newest]) -> tuple[int, set[float | None]]:
    last = max(time for time, _, _ in newest)
    return last, {value for time, _, value in newest if time == last}
