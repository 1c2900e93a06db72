"""One reading of the online store against the newest in history, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cluster.stores.ports import OnlineStore, OnlineValues
from cluster.verify.newest import Key, Newest

#: Entities in one read of the online store.
ENTITIES_PER_READ = 1_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A value that was online at some moment. `value` is None for a stored null; times are µs."""

    entity: str
    feature: str
    event_us: int
    created_us: int
    value: float | None


@dataclass(slots=True)
class Differences:
    """What is not equal, out of `compared` (entity, feature) pairs.

    `ahead`: online is newer than history was, or history did not have the pair. `behind`: online is older or has
    nothing; by what history had. `unsettled`: may still become equal without a mistake anywhere, so look again.
    """

    compared: int = 0
    ahead: list[Seen] = field(default_factory=list)
    behind: dict[Seen, str] = field(default_factory=dict)
    unsettled: dict[Key, str] = field(default_factory=dict)

    def add(self, other: Differences) -> None:
        """Take in what another part of the comparison found."""
        self.compared += other.compared
        self.ahead += other.ahead
        self.behind.update(other.behind)
        self.unsettled.update(other.unsettled)


@dataclass(frozen=True, slots=True)
class _Online:
    """What an `OnlineValues` holds, as matrices [feature, entity]."""

    found: NDArray[np.bool_]
    null: NDArray[np.bool_]
    value: NDArray[np.float64]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]

    @classmethod
    def of(cls, values: OnlineValues) -> _Online:
        return cls(
            found=values.found,
            null=values.null,
            value=values.values,
            event_us=values.event_timestamps,
            created_us=values.created_at,
        )


def compare(newest: Newest, online: OnlineStore, features: Sequence[str]) -> Differences:
    """Read the online store for the entities of `newest`, and compare each pair.

    `newest` must have been read before: then an online store that is older is wrong, one that is newer may be right.
    """
    total = Differences()
    for start in range(0, len(newest.entities), ENTITIES_PER_READ):
        entities = newest.entities[start : start + ENTITIES_PER_READ]
        low, high = np.searchsorted(newest.entity, [start, start + len(entities)])
        stored = _Online.of(online.read(entities, features))
        total.add(_Comparison(newest, slice(low, high), start, stored, features).differences())
    return total


def all_seen(entities: Sequence[str], online: OnlineStore, features: Sequence[str]) -> Iterator[Seen]:
    """Yield everything that is online for `entities`."""
    for start in range(0, len(entities), ENTITIES_PER_READ):
        part = entities[start : start + ENTITIES_PER_READ]
        stored = _Online.of(online.read(part, features))
        for feature, entity in np.argwhere(stored.found):
            yield _seen(stored, part[entity], features[feature], (feature, entity))


class _Comparison:
    """Rows `part` of `newest`, whose entities start at index `start`, against what is stored for them."""

    def __init__(self, newest: Newest, part: slice, start: int, stored: _Online, features: Sequence[str]) -> None:
        self._newest, self._stored, self._features, self._start = newest, stored, features, start
        self._feature, self._entity = newest.feature[part], newest.entity[part] - start
        self._event, self._created = newest.event_us[part], newest.created_us[part]
        self._value, self._null, self._on_its_way = newest.value[part], newest.null[part], newest.on_its_way[part]

    def differences(self) -> Differences:
        at = (self._feature, self._entity)
        pair = self._entity * len(self._features) + self._feature
        firsts = np.flatnonzero(np.diff(pair, prepend=-1))  # rows are ordered by entity; one key's rows are neighbours
        found = Differences(compared=len(firsts))
        equal = np.logical_or.reduceat(self._equal(at), firsts) if len(firsts) else np.zeros(0, np.bool_)
        waits = np.logical_or.reduceat(self._on_its_way, firsts) if len(firsts) else equal
        for row, wait in zip(firsts[~equal], waits[~equal], strict=True):
            self._judge(row, found, wait=bool(wait))
        unknown = self._stored.found.copy()
        unknown[at] = False
        found.ahead += [self._seen(feature, entity) for feature, entity in np.argwhere(unknown)]
        return found

    def _equal(self, at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.bool_]:
        stored = self._stored
        null = stored.null[at]
        # 0.0 equals -0.0, whose sign DuckDB loses in the maximum of a struct.
        same_number = (stored.value[at] == self._value) | (np.isnan(stored.value[at]) & np.isnan(self._value))
        same_value = np.where(self._null | null, self._null == null, same_number)
        same_time = (stored.event_us[at] == self._event) & (stored.created_us[at] == self._created)
        equal: NDArray[np.bool_] = stored.found[at] & same_time & same_value
        return equal

    def _judge(self, row: int, found: Differences, *, wait: bool) -> None:
        feature, entity = self._feature[row], self._entity[row]
        seen = self._seen(feature, entity)
        here, wanted = (seen.event_us, seen.created_us), (int(self._event[row]), int(self._created[row]))
        is_there = self._stored.found[feature, entity]
        if is_there and here > wanted:
            found.ahead.append(seen)
            return
        text = _describe(seen if is_there else None, seen, *wanted)
        if wait or (is_there and here == wanted):
            # A file on its way to Redis; or a later row with the same times, committed after history was read.
            found.unsettled[seen.entity, seen.feature] = text
        else:
            found.behind[self._wanted(row, seen)] = text

    def _wanted(self, row: int, seen: Seen) -> Seen:
        value = None if self._null[row] else float(self._value[row])
        return Seen(seen.entity, seen.feature, int(self._event[row]), int(self._created[row]), value)

    def _seen(self, feature: int, entity: int) -> Seen:
        name = self._newest.entities[self._start + entity]
        return _seen(self._stored, name, self._features[feature], (feature, entity))


def _seen(stored: _Online, entity: str, feature: str, at: tuple[int, int]) -> Seen:
    value = None if stored.null[at] else float(stored.value[at])
    return Seen(entity, feature, int(stored.event_us[at]), int(stored.created_us[at]), value)


def _describe(online: Seen | None, key: Seen, event_us: int, created_us: int) -> str:
    there = "nothing" if online is None else times(online.event_us, online.created_us)
    wanted = times(event_us, created_us)
    end = ", with another value" if there == wanted else ""
    return f"{key.entity} {key.feature}: online has {there}, history has {wanted}{end}"


def times(event_us: int, created_us: int) -> str:
    """Return a version of a value as text."""
    return f"event time {np.datetime64(event_us, 'us')} created {np.datetime64(created_us, 'us')}"
