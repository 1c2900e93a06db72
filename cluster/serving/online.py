"""Online reads: what is stored, judged by each view's ttl, with a status that is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cluster.errors import Refused
from cluster.registry.catalog import FeatureSpec
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
    """Features that are read together: what the store is asked for, and until when each value counts."""

    specs: tuple[FeatureSpec, ...]
    names: list[str]
    windows: WindowSet

    @classmethod
    def of(cls, specs: Sequence[FeatureSpec], panes: Sequence[Pane] = ()) -> OnlineFeatureSet:
        """Return the set for `specs`; `panes` are those of the definitions. Raise Refused for a feature not kept online."""
        for spec in specs:
            _check_online(spec)
        return cls(tuple(specs), [spec.name for spec in specs], WindowSet.of(specs, panes))

    @cached_property
    def stored(self) -> list[str]:
        """Return the features of which the newest value is asked for: all but windows."""
        return [spec.name for spec in self.specs if not spec.aggregation]

    @cached_property
    def _ttl_us(self) -> NDArray[np.int64]:
        ttls = [_FOR_EVER if spec.ttl_us is None else spec.ttl_us for spec in self.specs if not spec.aggregation]
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

    def with_windows(self, answer: OnlineAnswer, values: NDArray[np.float64], now_us: int) -> OnlineAnswer:
        """Put the windows' values, which are of now, where they were asked for among the others."""
        statuses = np.where(np.isnan(values), _NULL, _PRESENT).astype(np.uint8)
        times = np.full(values.shape, now_us, np.int64)
        is_window = np.array([bool(spec.aggregation) for spec in self.specs])
        order = np.argsort(np.argsort(is_window, kind="stable"), kind="stable")
        return OnlineAnswer(
            np.concatenate([answer.values, values])[order],
            np.concatenate([answer.statuses, statuses])[order],
            np.concatenate([answer.event_timestamps, times])[order],
            np.concatenate([answer.ages, np.zeros(values.shape, np.int64)])[order],
        )


def _check_online(spec: FeatureSpec) -> None:
    if not spec.online:
        raise Refused(
            f"feature '{spec.name}' of view '{spec.view}' is not kept online: set online=True in feature view '{spec.view}' "
            "and run `raytide apply`, or read it with `raytide get-historical`",
        )
