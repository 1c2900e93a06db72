"""The cluster-wide cap on workers: `cluster.ingest.leases` in an async actor, so that waiting costs nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

from cluster.config import WorkersConfig
from cluster.ingest.leases import Claim, Leases
from cluster.status import LimiterReport, SlotReport

EXPIRY_SECONDS = 1.0


class Limiter:
    """Grants slots. Its own restart forgets them: holders ask again within a second, and get them back."""

    def __init__(self, workers: WorkersConfig) -> None:
        self._workers = workers
        self._leases = Leases(workers.max, workers.reserved_for_streams, workers.lease_seconds)
        self._changed = asyncio.Condition()
        self._most = 0

    def __repr__(self) -> str:
        return "limiter"

    async def acquire(self, claim: Claim, *, yielding: bool) -> None:
        """Return when the claim has a slot. `yielding`: it has one, and passes it on first if others wait."""
        async with self._changed:
            if yielding and self._leases.should_yield(claim.holder):
                self._leases.release(claim.holder, time.monotonic())
                self._changed.notify_all()
            while not self._leases.ask(claim, time.monotonic()):
                await self._wait()
            self._most = max(self._most, len(self._leases.held))

    async def release(self, holder: str) -> None:
        """End a lease or a wait."""
        async with self._changed:
            self._leases.release(holder, time.monotonic())
            self._changed.notify_all()

    async def release_job(self, prefix: str) -> None:
        """End everything of a holder that died or was built anew."""
        async with self._changed:
            self._leases.release_job(prefix, time.monotonic())
            self._changed.notify_all()

    async def snapshot(self) -> LimiterReport:
        """Return who holds and who waits, for status."""
        now = time.monotonic()
        self._leases.expire(now)
        return LimiterReport(
            slots=self._workers.max,
            reserved_for_streams=self._workers.reserved_for_streams,
            most_at_once=self._most,
            held=tuple(SlotReport(**asdict(lease.claim), seconds=now - lease.since) for lease in self._leases.held),
            waiting=tuple(SlotReport(**asdict(claim)) for claim in self._leases.waiting),
        )

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), EXPIRY_SECONDS)
        except TimeoutError:
            self._leases.expire(time.monotonic())
