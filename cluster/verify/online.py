"""Redis against history, while both go on being written to.

Streams write Redis before they commit, uploads and replays after. So with history read first and Redis second:

- online older than history, or missing: wrong, unless the newest row came in a file or by a replay that is COMMITTED but
  not yet DONE;
- online newer than history was, or unknown to it: right if exactly that row turns up in history soon;
- same times, another value: look at both again, a later row with the same times may be on its way.
- what a backfill superseded meanwhile, seen here or there: look at both again, they will be without it.

What is open is asked again, in growing pauses, until it is settled or patience ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Protocol

from cluster.stores.ports import OnlineStore
from cluster.verify import newest
from cluster.verify.compare import Differences, Seen, all_seen, compare, times
from cluster.verify.report import Check, Reads, rows

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0

#: Values that one statement looks for in history.
_VALUES_AT_ONCE = 10_000

_KNOWN_ENTITIES = """
    SELECT DISTINCT entity_id FROM features
    WHERE entity_id IN (SELECT unnest(?::VARCHAR[])) AND feature_name IN (SELECT unnest(?::VARCHAR[]))"""

_IN_TABLE = """
    WITH seen AS (
        SELECT unnest(?::VARCHAR[]) AS entity_id, unnest(?::VARCHAR[]) AS feature_name, unnest(?::BIGINT[]) AS event_us,
            unnest(?::BIGINT[]) AS created_us, unnest(?::DOUBLE[]) AS value, unnest(?::BIGINT[]) AS n
    )
    SELECT DISTINCT n FROM seen JOIN {table} AS stored USING (entity_id, feature_name)
    WHERE event_timestamp = make_timestamp(event_us) AND created_at = make_timestamp(created_us)
        AND stored.value IS NOT DISTINCT FROM seen.value"""


class Clock(Protocol):
    """Time as an argument, so that tests decide how it passes."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`."""


def checks(reads: Reads, online: OnlineStore, features: Sequence[str], pauses: Pauses) -> list[Check]:
    """Return what is stale online, and what is online but not in history."""
    found = Differences()
    for part in newest.in_ranges(reads, features):
        found.add(compare(part, online, features))
    scanned = 0
    for entities in _scan(online):
        scanned += len(entities)
        found.ahead += all_seen(_unknown(reads, entities, features), online, features)
    phantoms = _settle(reads, online, features, found, pauses)
    stale = [*found.behind.values(), *found.unsettled.values()]
    return [
        Check.of("online values are the newest in history", found.compared, stale),
        Check.of("online values are all in history", scanned, [_phantom(seen) for seen in phantoms]),
    ]


class Pauses:
    """Growing pauses until patience ends."""

    def __init__(self, clock: Clock, patience_s: float) -> None:
        self._clock, self._patience_s = clock, patience_s

    def __iter__(self) -> Iterator[None]:
        """Yield at once, then after each pause, the last time when patience ends."""
        deadline, pause = self._clock.monotonic() + self._patience_s, FIRST_PAUSE_S
        yield
        while (left := deadline - self._clock.monotonic()) > 0:
            self._clock.wait(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE_S)
            yield


def _settle(reads: Reads, online: OnlineStore, features: Sequence[str], found: Differences, pauses: Pauses) -> list[Seen]:
    """Ask again until nothing is open; return what never turned up in history, leave the rest in `found`.

    A value seen online must turn up even if it is replaced meanwhile: nothing may ever be online that history lacks.
    """
    ahead = found.ahead
    for _ in pauses:
        if found.unsettled:
            again = _look_again(reads, online, features, list(found.unsettled))
            ahead += [seen for seen in again.ahead if (seen.entity, seen.feature) in found.unsettled]
            found.behind.update(again.behind)
            found.unsettled = again.unsettled
        missing = _missing(reads, ahead, "features")
        ahead = _missing(reads, missing, "superseded")
        replaced = {*missing} - {*ahead} | ({*found.behind} - {*_missing(reads, list(found.behind), "superseded")})
        found.unsettled |= {(seen.entity, seen.feature): found.behind.pop(seen, _replaced(seen)) for seen in replaced}
        if not ahead and not found.unsettled:
            break
    return ahead


def _look_again(reads: Reads, online: OnlineStore, features: Sequence[str], keys: Sequence[newest.Key]) -> Differences:
    """Compare some pairs again, those included of which history has nothing any more."""
    now = newest.of_keys(reads, features, keys)
    found = compare(now, online, features)
    found.ahead += all_seen(sorted({entity for entity, _ in keys} - {*now.entities}), online, features)
    return found


def _missing(reads: Reads, seen: Sequence[Seen], table: str) -> list[Seen]:
    """Return those of which a table has no such row."""
    missing: list[Seen] = []
    for start in range(0, len(seen), _VALUES_AT_ONCE):
        part = seen[start : start + _VALUES_AT_ONCE]
        columns = [list(column) for column in zip(*map(astuple, part), strict=True)]
        present = {row["n"] for row in rows(reads, _IN_TABLE.format(table=table), [*columns, list(range(len(part)))])}
        missing += [one for n, one in enumerate(part) if n not in present]
    return missing


def _scan(online: OnlineStore) -> Iterator[list[str]]:
    """Yield all online entities in lists that are worth a scan of history."""
    waiting: list[str] = []
    for entities in online.entities():
        waiting += entities
        if len(waiting) >= newest.ENTITIES_AT_ONCE:
            yield waiting
            waiting = []
    yield waiting


def _unknown(reads: Reads, entities: Sequence[str], features: Sequence[str]) -> list[str]:
    known = {row["entity_id"] for row in rows(reads, _KNOWN_ENTITIES, [entities, features])}
    return [entity for entity in entities if entity not in known]


def _replaced(seen: Seen) -> str:
    when = times(seen.event_us, seen.created_us)
    return f"{seen.entity} {seen.feature}: online has {when}, which a backfill superseded in history"


def _phantom(seen: Seen) -> str:
    return f"{seen.entity} {seen.feature}: online has {times(seen.event_us, seen.created_us)}, history has no such row"
