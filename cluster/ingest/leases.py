"""The cluster-wide cap on workers, as a pure table of leases; time is an argument.

Streams hold reserved slots and may use free shared ones; everything else shares the rest. A free slot goes to the job
with the fewest slots, of several to the one whose last turn was longest ago, so that a file of many pieces never starves
one of few; backfills never go before a stream that waits. A lease that is not renewed ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a worker does with its slot."""

    STREAM = "stream"
    UPLOAD = "upload"
    REPLAY = "replay"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody who wants or has a slot. `holder` is unique; `job` is what takes turns (an upload, a partition)."""

    holder: str
    kind: Kind
    job: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A slot that is taken; times are seconds of the limiter's monotonic clock."""

    claim: Claim
    since: float
    until: float


class Leases:
    """Who has a slot and who waits. Not thread-safe: the limiter actor is the only caller."""

    def __init__(self, slots: int, reserved_for_streams: int, seconds: float) -> None:
        self._slots, self._reserved, self._seconds = slots, reserved_for_streams, seconds
        self._held: dict[str, Lease] = {}
        self._waiting: dict[str, Claim] = {}
        self._turns: dict[str, None] = {}  # jobs that hold or wait and had a slot, the last one last

    @property
    def held(self) -> list[Lease]:
        """Return the leases in force, oldest first."""
        return list(self._held.values())

    @property
    def waiting(self) -> list[Claim]:
        """Return who waits, first come first."""
        return list(self._waiting.values())

    def ask(self, claim: Claim, now: float) -> bool:
        """Return whether the claim has a slot now; otherwise it waits in line. Asking again renews."""
        self.expire(now)
        if claim.holder not in self._held:
            self._waiting.setdefault(claim.holder, claim)
            self._grant(now)
        if claim.holder not in self._held:
            return False
        since = self._held[claim.holder].since
        self._held[claim.holder] = Lease(claim, since, now + self._seconds)
        return True

    def should_yield(self, holder: str) -> bool:
        """Return whether somebody waits who could use this holder's slot."""
        lease = self._held.get(holder)
        if lease is None:
            return False
        return any(self._fits(claim, without=holder) for claim in self._waiting.values())

    def release(self, holder: str, now: float) -> None:
        """End a lease or a wait; unknown holders are fine."""
        self._held.pop(holder, None)
        self._waiting.pop(holder, None)
        self._grant(now)

    def release_job(self, prefix: str, now: float) -> None:
        """End everything whose holder starts with `prefix`: its process died or was built anew."""
        for holder in [h for h in (*self._held, *self._waiting) if h.startswith(prefix)]:
            self.release(holder, now)

    def expire(self, now: float) -> list[Claim]:
        """End leases whose time is over and return them."""
        gone = [lease.claim for lease in self._held.values() if lease.until < now]
        for claim in gone:
            del self._held[claim.holder]
        if gone:
            self._grant(now)
        return gone

    def _grant(self, now: float) -> None:
        while claim := self._next():
            del self._waiting[claim.holder]
            self._held[claim.holder] = Lease(claim, now, now + self._seconds)
            self._note_turn(claim.job)

    def _note_turn(self, job: str) -> None:
        alive = {lease.claim.job for lease in self._held.values()} | {claim.job for claim in self._waiting.values()}
        self._turns = {known: None for known in self._turns if known in alive and known != job} | {job: None}

    def _next(self) -> Claim | None:
        fitting = [claim for claim in self._waiting.values() if self._fits(claim)]
        if any(claim.kind is Kind.STREAM for claim in fitting):
            fitting = [claim for claim in fitting if claim.kind is not Kind.BACKFILL]
        turns = {job: turn for turn, job in enumerate(self._turns)}
        # min is stable: among jobs without a turn so far the one that waits longest.
        return min(fitting, key=lambda c: (self._slots_of(c.job), turns.get(c.job, -1)), default=None)

    def _slots_of(self, job: str) -> int:
        return sum(lease.claim.job == job for lease in self._held.values())

    def _fits(self, claim: Claim, without: str = "") -> bool:
        held = [lease.claim for holder, lease in self._held.items() if holder != without]
        if len(held) >= self._slots:
            return False
        others = sum(c.kind is not Kind.STREAM for c in held)
        return claim.kind is Kind.STREAM or others < self._slots - self._reserved
