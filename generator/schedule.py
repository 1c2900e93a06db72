"""When each message of a producer is due, in seconds after the start."""

from __future__ import annotations

from collections.abc import Iterator

from generator.profiles import Profile

#: Without a rate, event times still have to differ; far less than sending takes, so none lies in the future.
_UNPACED_RATE = 200_000.0


def due_times(profile: Profile, producer: int, producers: int) -> Iterator[float]:
    """Yield without end; the producers' messages interleave evenly."""
    due = producer / _rate(profile, 0.0)
    while True:
        yield due
        due += producers / _rate(profile, due)


def _rate(profile: Profile, due: float) -> float:
    bursting = profile.burst_every_s > 0 and due % profile.burst_every_s < profile.burst_s
    return (profile.burst_rate if bursting else profile.rate) or _UNPACED_RATE
