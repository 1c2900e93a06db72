"""Which events a window holds at a time. Everybody who computes one asks here, so that all of them count the same events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cluster.errors import Misconfigured

#: Hops of a window at most.
MAX_HOPS = 1_500
#: Different values in one window at most. It is counted exactly up to here, and beyond it is an error, never an estimate.
MAX_DISTINCT = 10_000
#: Lower edges move in the smallest of these steps that cuts a window into `_FINE` or fewer.
_STEPS = (timedelta(seconds=1), timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=1), timedelta(days=1))
_FINE = 300
_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)), ("s", timedelta(seconds=1)))
_SECOND = _UNITS[-1][1]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of event time that ends at the time asked for and begins at a multiple of `hop_us`, in µs since 1970."""

    length_us: int
    hop_us: int

    @classmethod
    def of(cls, length: timedelta, hop: timedelta) -> Window:
        """Return the window; raise Misconfigured for durations that make none."""
        for name, duration in (("window", length), ("hop", hop)):
            if not isinstance(duration, timedelta) or duration < _SECOND or duration % _SECOND:
                raise Misconfigured(f"{name} is {duration!r}: give a timedelta of whole seconds, of at least one")
        if length % hop:
            raise Misconfigured(
                f"window {spoken(length)} is not a multiple of hop {spoken(hop)}: the window would change its length"
            )
        if length // hop > MAX_HOPS:
            raise Misconfigured(
                f"window {spoken(length)} has {length // hop:,} hops of {spoken(hop)}, and {MAX_HOPS:,} are the most: "
                "give a longer hop, such as hop=timedelta(days=7)",
            )
        return cls(length // timedelta(microseconds=1), hop // timedelta(microseconds=1))

    def edge(self, at_us: int) -> int:
        """Return the lower edge at a time: events at it do not count, later ones do."""
        return (at_us - self.length_us) // self.hop_us * self.hop_us

    def holds(self, event_us: int, at_us: int) -> bool:
        """Answer whether an event counts at a time."""
        return self.edge(at_us) < event_us <= at_us


def usual_hop(length: timedelta) -> timedelta:
    """Return the hop of a window for which none is given."""
    return next((step for step in _STEPS if not length % step and length // step <= _FINE), _STEPS[-1])


def spoken(duration: timedelta) -> str:
    """Return a duration of whole seconds as people write it: 7d, 36h, 90m, 45s."""
    return next((f"{duration // unit}{letter}" for letter, unit in _UNITS if not duration % unit), str(duration))
