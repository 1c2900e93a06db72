"""What a function has to know of some events, in a form that combines: of the events of two hops, or of two commits.

Merging is associative and commutative and takes the partial of no events for nothing, so it does not matter how the events of a
window were divided, or in which order they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from cluster.errors import OverLimit
from cluster.registry.aggregation import Function

#: Different values in one window at most. It is counted exactly up to here, and beyond it is an error, never an estimate.
MAX_DISTINCT = 10_000


class Seen(NamedTuple):
    """A value with what orders it among an entity's others, the way point-in-time joins do. Times are µs."""

    event: int
    created: int
    position: int
    source_id: int
    value: float


@dataclass(frozen=True, slots=True)
class Partial:
    """All functions' partial results of at least one event; `spread` is the sum of squared distances from the mean."""

    count: int
    total: float
    mean: float
    spread: float
    least: float
    greatest: float
    first: Seen
    last: Seen
    distinct: frozenset[float]

    @classmethod
    def of(cls, seen: Seen) -> Partial:
        """Return the partial of one event."""
        value = seen.value
        return cls(1, value, value, 0.0, value, value, seen, seen, frozenset((value,)))

    def __add__(self, other: Partial) -> Partial:
        """Return the partial of the events of both."""
        count, apart = self.count + other.count, other.mean - self.mean
        return Partial(
            count=count,
            total=self.total + other.total,
            mean=self.mean + apart * other.count / count,
            spread=self.spread + other.spread + apart * apart * self.count * other.count / count,
            least=min(self.least, other.least),
            greatest=max(self.greatest, other.greatest),
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            distinct=self.distinct | other.distinct,
        )


def result(function: Function, partials: list[Partial]) -> float | None:
    """Return what a function gives for all events of some partials; raise OverLimit for too many different values."""
    if not partials:
        return 0.0 if function in {Function.COUNT, Function.COUNT_DISTINCT} else None
    whole = reduce(Partial.__add__, partials)
    if function is Function.COUNT_DISTINCT and len(whole.distinct) > MAX_DISTINCT:
        raise OverLimit(
            f"a window has {len(whole.distinct):,} different values, and it is counted exactly up to {MAX_DISTINCT:,}"
        )
    return _RESULTS[function](whole)


def _std(partial: Partial) -> float | None:
    return math.sqrt(partial.spread / (partial.count - 1)) if partial.count > 1 else None


_RESULTS: Mapping[Function, Callable[[Partial], float | None]] = {
    Function.COUNT: lambda partial: float(partial.count),
    Function.SUM: lambda partial: partial.total,
    Function.MEAN: lambda partial: partial.mean,
    Function.MIN: lambda partial: partial.least,
    Function.MAX: lambda partial: partial.greatest,
    Function.STD: _std,
    Function.FIRST: lambda partial: partial.first.value,
    Function.LAST: lambda partial: partial.last.value,
    Function.COUNT_DISTINCT: lambda partial: float(len(partial.distinct)),
}
