"""What a backfill changed in history, online.

Newest wins, so equal times let a recomputed value replace the old one, and a newer one of a stream stays. But a value that
history no longer has, because its record does not pass any more, would stay for ever: it is taken away first, if it is
still there, and what is newest without it is written.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.ingest.backfills import PartKey
from cluster.rebuild import is_filled
from cluster.stores.ports import BackfillStore, OnlineStore

Where = tuple[str, PartKey]  # a backfill, and which of its shares


def publish(history: BackfillStore, online: OnlineStore | None, where: Where, pause: Callable[[], None]) -> None:
    """Bring online what is in history of a part, and note it; `where` names it. Harmless to repeat.

    `online` is None for a view that is not kept online. While the online store is being rebuilt it is done again: a
    rebuild may have read what was superseded since, and write it with equal times. `pause` returns after a moment.
    """
    backfill_id, key = where
    part = history.get_backfill(backfill_id).part(key)
    if part.published == part.next:
        return
    if online is not None:
        _write(history, online, where, pause)
    history.publish_backfill(backfill_id, key, part.next)


def _write(history: BackfillStore, online: OnlineStore, where: Where, pause: Callable[[], None]) -> None:
    changed, whole = history.backfill_changes(*where), False
    while not whole:
        online.retract(changed.gone)
        online.write(changed.newest)
        whole = is_filled(online)
        while not whole and not is_filled(online):
            pause()
