"""Online reads: what is stored, judged by each view's ttl, with a status that is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cluster.errors import Refused
from cluster.registry.catalog import FeatureSpec
from cluster.serving.computed import base_of, complete
from cluster.serving.online_windows import WindowSet
from cluster.stores.ports import OnlineValues
from cluster.windows.panes import Pane

#: Longer than any age: the ttl of a view without one.
_FOR_EVER = np.iinfo(np.int64).max


class Status(StrEnum):
    """What an online read says about one (entity, feature) pair. Its number is its place, from 1 on, as in both protocols."""

    PRESENT = "PRESENT"
    NULL_VALUE = "NULL_VALUE"
    NOT_FOUND = "NOT_FOUND"
    OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"

    @property
    def number(self) -> int:
        """Return the number that stands for it in `OnlineAnswer.statuses`."""
        return STATUSES.index(self) + 1


STATUSES = tuple(Status)
_PRESENT, _NULL, _NOT_FOUND, _EXPIRED = (status.number for status in STATUSES)


@dataclass(frozen=True, slots=True)
class OnlineAnswer:
    """An online read as matrices `[feature, entity]`, as asked for; statuses by number.

    A value is NaN unless PRESENT. Event times and ages are µs; both are 0 for NOT_FOUND, and an age is 0 for an event
    from the future.
    """

    values: NDArray[np.float64]
    statuses: NDArray[np.uint8]
    event_timestamps: NDArray[np.int64]
    ages: NDArray[np.int64]


@dataclass(frozen=True)
class OnlineFeatureSet:
    """Features that are read together: what the store is asked for, and until when each value counts.

    `specs` are asked for, and `base` is read: without those that are computed from answers, and with what these take.
    """

    specs: tuple[FeatureSpec, ...]
    base: tuple[FeatureSpec, ...]
    windows: WindowSet

    @classmethod
    def of(cls, specs: Sequence[FeatureSpec], panes: Sequence[Pane] = ()) -> OnlineFeatureSet:
        """Return the set for `specs`; `panes` are those of the definitions. Raise Refused for a feature not kept online."""
        for spec in specs:
            _check_online(spec)
        base = tuple(base_of(specs))
        return cls(tuple(specs), base, WindowSet.of(base, panes))

    @cached_property
    def names(self) -> list[str]:
        """Return the names of what is asked for."""
        return [spec.name for spec in self.specs]

    @cached_property
    def stored(self) -> list[str]:
        """Return the features of which the newest value is read."""
        return [spec.name for spec in self._stored]

    @cached_property
    def _stored(self) -> list[FeatureSpec]:
        return [spec for spec in self.base if spec.is_stored]

    @cached_property
    def _is_plain(self) -> bool:
        """Answer whether what is read is what was asked for, in that order."""
        return self._stored == list(self.specs)

    @cached_property
    def _ttl_us(self) -> NDArray[np.int64]:
        ttls = [_FOR_EVER if spec.ttl_us is None else spec.ttl_us for spec in self._stored]
        return np.array(ttls, np.int64).reshape(-1, 1)

    def judge(self, stored: OnlineValues, now_us: int) -> OnlineAnswer:
        """Say what `stored`, read for the features of `stored`, means at `now_us`.

        A value expires when it is older than its view's ttl, not at it.
        """
        ages = np.maximum(now_us - stored.event_timestamps, 0)
        ages[~stored.found] = 0
        expired = ages > self._ttl_us
        statuses = np.full(stored.found.shape, _PRESENT, np.uint8)
        statuses[stored.null] = _NULL
        # An expired null is expired: what it said then is as unknown now as any other value.
        statuses[expired] = _EXPIRED
        statuses[~stored.found] = _NOT_FOUND
        return OnlineAnswer(np.where(expired, np.nan, stored.values), statuses, stored.event_timestamps, ages)

    def complete(self, answer: OnlineAnswer, windows: NDArray[np.float64], at: At) -> OnlineAnswer:
        """Return the answer for all that was asked, from `answer` for `stored` and the values of `windows`.

        Raise Refused when a function fails for an answer.
        """
        if self._is_plain:
            return answer
        made = _of_now(np.concatenate([windows, self._computed(answer, windows, at.function_seconds)]), at.now_us)
        rows = {name: number for number, name in enumerate([*self.stored, *self._made])}
        order = [rows[spec.name] for spec in self.specs]
        return OnlineAnswer(*(np.concatenate(pair)[order] for pair in zip(_parts(answer), _parts(made), strict=True)))

    @cached_property
    def _made(self) -> list[str]:
        """Return the features whose values are of the moment of the answer."""
        return [spec.name for spec in (*self.windows.specs, *self._functions)]

    @cached_property
    def _functions(self) -> list[FeatureSpec]:
        return [spec for spec in self.specs if spec.computed]

    def _computed(self, answer: OnlineAnswer, windows: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
        known = dict(zip(self.stored, answer.values, strict=True))
        known |= dict(zip((spec.name for spec in self.windows.specs), windows, strict=True))
        found = complete(self._functions, known, seconds)
        return np.array([found[spec.name] for spec in self._functions]).reshape(-1, windows.shape[1])


class At(NamedTuple):
    """The moment of an answer, and how long a function that runs on answers may take."""

    now_us: int
    function_seconds: float


def _of_now(values: NDArray[np.float64], now_us: int) -> OnlineAnswer:
    statuses = np.where(np.isnan(values), _NULL, _PRESENT).astype(np.uint8)
    return OnlineAnswer(values, statuses, np.full(values.shape, now_us, np.int64), np.zeros(values.shape, np.int64))


def _parts(answer: OnlineAnswer) -> tuple[NDArray[Any], ...]:
    return answer.values, answer.statuses, answer.event_timestamps, answer.ages


def _check_online(spec: FeatureSpec) -> None:
    if not spec.online:
        raise Refused(
            f"feature '{spec.name}' of view '{spec.view}' is not kept online: set online=True in feature view '{spec.view}' "
            "and run `raytide apply`, or read it with `raytide get-historical`",
        )
