"""Times as users write them."""

from __future__ import annotations

from datetime import UTC, datetime

from cluster.errors import Refused

US_PER_S = 1_000_000


def microseconds(time: datetime | str | None, name: str) -> int | None:
    """Return a time in µs, UTC if without an offset; raise Refused, naming the argument, when a text is none."""
    if time is None:
        return None
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise Refused(f"{name} is not a time: write it like 2026-01-31T12:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * US_PER_S + moment.microsecond
