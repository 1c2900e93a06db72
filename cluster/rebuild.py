"""Filling the online store from history, when it was emptied or somebody asks (decision 0010).

The marker tells what is known of the store: full when it holds the newest of history for a set of features, gone when it
was emptied or is new. Whoever fills it puts a text of its own there, its claim, and full at the end only if the claim still
stands: so a store that is emptied meanwhile, or asked for again, or that should hold other features, is filled again.

Streams write to the online store before they commit. What they had written but not committed when it was emptied is in
neither place that a rebuild sees, so it also waits until the batches in flight are committed, and reads after that.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import pyarrow.compute as pc

from cluster.errors import RaytideError
from cluster.status import OnlineReport, OnlineState
from cluster.stores.duckdb_newest import OF_ENTITIES, as_rows
from cluster.stores.ports import OnlineStore
from cluster.verify.newest import ranges
from cluster.verify.report import Reads, rows

FULL = "full of "

Key = tuple[str, int]  # topic, partition

_LEDGER = "SELECT topic, partition, epoch, next_offset FROM partitions"
_TOTAL = "SELECT count(DISTINCT entity_id) AS n FROM features WHERE feature_name IN (SELECT unnest($1::VARCHAR[]))"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a partition is, for its actor (`next` is then the end of what may be online) or in the ledger."""

    epoch: int
    next: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a rebuild needs.

    `features` gives the names that whoever writes to the online store keeps there. `in_flight` asks the actors of
    partitions how far they have read, right now; one that does not know or does not answer is left out, one that no longer
    exists has epoch -1. `pause` returns after a moment, and is only called while something is being waited for; `patience`
    are the moments before the first pass.
    """

    history: Reads
    online: OnlineStore
    features: Callable[[], Sequence[str]]
    in_flight: Callable[[Iterable[Key]], Mapping[Key, Mark]]
    pause: Callable[[], None]
    patience: int = 20


def claim() -> str:
    """Return a text for the marker that nobody else has."""
    return f"claimed by {uuid.uuid4().hex}"


def full(features: Sequence[str]) -> str:
    """Return the marker's text for a store that holds the newest of these features."""
    return FULL + hashlib.sha256(" ".join(sorted(features)).encode()).hexdigest()[:16]


def is_filled(online: OnlineStore) -> bool:
    """Return whether nobody is filling the store, or has to."""
    return str(online.marker()).startswith(FULL)


def as_it_is(online: OnlineStore, report: OnlineReport) -> OnlineReport:
    """Return what the watch reported last, or what the store says if that is worse: the watch looks only now and then."""
    if report.state is not OnlineState.OK:
        return report
    try:
        if is_filled(online):
            return report
    except RaytideError as error:
        return replace(report, state=OnlineState.AWAY, note=str(error))
    return OnlineReport(OnlineState.REBUILDING, "it was emptied, or somebody asked for it: filled from history in a moment")


class Settling:
    """Which partitions may still have batches that were online before the claim and are not in history yet.

    Created after the claim. One is settled when the ledger reached what its actor had read, as it said after the claim,
    or when it was opened anew: that fences what its predecessor left, and what the successor writes comes after the claim.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._before = self._ledger()
        self._read: dict[Key, Mark] = {}
        self.open = sorted(self._before)

    def look(self) -> list[Key]:
        """Ask who has not answered, then the ledger; return those that are open."""
        self._read |= self._parts.in_flight([key for key in self.open if key not in self._read])
        ledger = self._ledger()
        self.open = [key for key in self.open if not self._is_settled(key, ledger[key])]
        self._read = {key: mark for key, mark in self._read.items() if mark.epoch in (-1, ledger[key].epoch)}
        return self.open

    def _is_settled(self, key: Key, now: Mark) -> bool:
        if now.epoch > self._before[key].epoch:
            return True
        said = self._read.get(key)
        return said is not None and (said.epoch == -1 or (said.epoch == now.epoch and now.next >= said.next))

    def _ledger(self) -> dict[Key, Mark]:
        found = rows(self._parts.history, _LEDGER)
        return {(row["topic"], row["partition"]): Mark(row["epoch"], row["next_offset"]) for row in found}


def rebuild(parts: Parts) -> Iterator[OnlineReport]:
    """Write the newest of history to the online store and mark it full; yield how far that is.

    It may end without the mark, because the store was emptied or claimed anew meanwhile: look at the marker and start
    again. Harmless at any time. Raise RetryLater when either store is away.
    """
    mine, features = claim(), list(parts.features())
    parts.online.mark(mine)
    yield OnlineReport(OnlineState.REBUILDING)
    settling = Settling(parts)
    for _ in range(parts.patience):
        if not settling.look():
            break
        parts.pause()
    late = bool(settling.open)
    yield from _write_all(parts, features)
    if late:  # serve what there is first; a partition may take long to settle, its latest values come with this pass
        yield from chain(_wait(parts, settling, mine), _write_all(parts, features))
    parts.online.remark(mine, full(features))


def _write_all(parts: Parts, features: list[str]) -> Iterator[OnlineReport]:
    report = OnlineReport(OnlineState.REBUILDING, entities_total=rows(parts.history, _TOTAL, [features])[0]["n"])
    for above, up_to in ranges(parts.history, features):
        found = parts.history.query(OF_ENTITIES, [features, above, up_to])
        parts.online.write(as_rows(found))
        done = report.entities_done + pc.count_distinct(found["entity_id"]).as_py()
        # Entities that came meanwhile are written too, by whoever brought them.
        report = replace(report, entities_done=done, entities_total=max(done, report.entities_total))
        yield report


def _wait(parts: Parts, settling: Settling, mine: str) -> Iterator[OnlineReport]:
    while settling.look() and parts.online.marker() == mine:
        names = ", ".join(f"{topic}[{partition}]" for topic, partition in settling.open)
        yield OnlineReport(OnlineState.REBUILDING, f"waits until what {names} had in flight is committed")
        parts.pause()


class OnlineWatch:
    """Looks after the online store. `look` and `stop` are called by one thread each; `report` may be read by any."""

    def __init__(self, parts: Parts, is_stopped: Callable[[], bool]) -> None:
        self._parts, self._is_stopped = parts, is_stopped
        self.report = OnlineReport()

    def look(self) -> None:
        """Rebuild when the marker does not say full. A store that is away is told in the report, and the next look tries again.

        A new store is filled the same way: there is just nothing to write yet. Only marking it could forget what streams
        wrote before it was lost and committed after it was looked at.
        """
        try:
            if not self._is_full():
                for progress in rebuild(self._parts):
                    self.report = progress
                    if self._is_stopped():
                        return
            if self._is_full():
                self.report = replace(self.report, state=OnlineState.OK, note="")
        except RaytideError as error:
            self.report = replace(self.report, state=OnlineState.AWAY, note=str(error))

    def _is_full(self) -> bool:
        return self._parts.online.marker() == full(self._parts.features())


def ask(online: OnlineStore, report: Callable[[], OnlineReport], pause: Callable[[], None]) -> Iterator[OnlineReport]:
    """Ask whoever watches to rebuild, by taking the marker from it; yield what `report` says until it is done."""
    online.mark(claim())
    while True:
        filled, now = is_filled(online), report()  # in this order: it is set after the report left OK
        if filled and now.state is OnlineState.OK:
            yield now
            return
        yield now if now.state is not OnlineState.OK else replace(now, state=OnlineState.REBUILDING, entities_done=0)
        pause()
