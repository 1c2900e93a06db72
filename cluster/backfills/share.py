"""A share of a backfill in the hands of whoever takes it further: compute, commit, publish, chunk by chunk.

Each chunk is online before the next one is committed, so what is unpublished is never more than a chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.backfills.compute import Decoded, Recompute, Span
from cluster.backfills.publish import publish
from cluster.errors import RetryLater
from cluster.faults import BackfillPoint, reach
from cluster.ingest.backfills import Backfill, BackfillPart, PartKey
from cluster.records import REJECTS_SCHEMA, ROWS_SCHEMA, Batch
from cluster.stores.ports import BackfillStore, OnlineStore

REBUILD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """What a share needs. `online` is None when the view is not kept online."""

    history: BackfillStore
    online: OnlineStore | None


class Share:
    """Caller: one thread. Wherever it ends, the next one goes on from what is in history.

    Every method raises RetryLater when a store is away, or when somebody else takes the same share further, and Refused when
    the backfill was stopped.
    """

    def __init__(self, ports: Ports, backfill: Backfill, key: PartKey) -> None:
        """Bring online what an earlier one left."""
        self._ports, self._backfill_id, self._key = ports, backfill.backfill_id, key
        self._publish()
        self._now = ports.history.get_backfill(backfill.backfill_id)

    @property
    def part(self) -> BackfillPart:
        """Return how far it is."""
        return self._now.part(self._key)

    def take(self, recompute: Recompute, decoded: Decoded, following: int) -> None:
        """Replace what history has of the records up to `following`, but not beyond the share's end."""
        part = self.part
        span = Span(self._now.origin(part), part.next, min(following, part.end))
        before = self._ports.history.backfill_positions(self._backfill_id, self._key, span.first, span.next)
        batch = recompute.run(decoded, before, span)
        reach(BackfillPoint.COMPUTED)
        self._commit(batch)
        self._publish()
        reach(BackfillPoint.PUBLISHED)

    def pass_over(self, following: int) -> None:
        """Leave the records up to `following` as they are: nobody can read them any more."""
        part, nothing = self.part, (ROWS_SCHEMA.empty_table(), REJECTS_SCHEMA.empty_table())
        self._commit(Batch(self._now.origin(part), 0, part.next, min(following, part.end), 0, *nothing))
        self._publish()

    def _commit(self, batch: Batch) -> None:
        self._now = self._ports.history.commit_backfill(self._backfill_id, batch)

    def _publish(self) -> None:
        publish(self._ports.history, self._ports.online, (self._backfill_id, self._key), _pauses())


def _pauses() -> Callable[[], None]:
    deadline = time.monotonic() + REBUILD_SECONDS

    def pause() -> None:
        if time.monotonic() > deadline:
            raise RetryLater("the online store is still being rebuilt; the backfill goes on after that")
        time.sleep(0.2)  # the rebuild is in another process

    return pause
