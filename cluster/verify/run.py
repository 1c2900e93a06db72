"""All checks in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from cluster.registry.catalog import Catalog
from cluster.stores.ports import OnlineStore
from cluster.verify import accounting, online, streams
from cluster.verify.online import Clock, Pauses
from cluster.verify.report import Reads, Report
from cluster.verify.windows import Windows
from cluster.verify.windows import check as compare_windows

#: How long a value that is ahead of history, or an upload on its way to Redis, may take to settle.
PATIENCE_S = 30.0


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return the machine's monotonic time."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep: commits happen in another process, asking again is how one learns of them."""
        time.sleep(seconds)


def verify_windows(
    reads: Reads, windows: Windows, catalog: Catalog, *, clock: Clock | None = None, patience_s: float = PATIENCE_S
) -> Report:
    """Check windows alone."""
    found = compare_windows(reads, windows, catalog, Pauses(clock or SystemClock(), patience_s))
    return Report((found,) if found else (), ())


def verify(
    reads: Reads,
    online_store: OnlineStore,
    catalog: Catalog,
    kafka_ends: Callable[[], Mapping[tuple[str, int], int]] | None,
    *,
    windows: Windows | None = None,
    clock: Clock | None = None,
    patience_s: float = PATIENCE_S,
) -> Report:
    """Check every promise against the stores, while they go on being written to.

    `kafka_ends` returns the end offset of each partition. It is called after the ledger was read: ends taken before
    would look overtaken under live traffic. None leaves Kafka out, and so it is with `windows`. What cannot be settled
    within `patience_s` counts as an offence.
    """
    states = streams.partitions(reads, kafka_ends)
    origins = accounting.origins(reads)
    checks = [
        streams.contiguous(reads),
        streams.not_ahead(states),
        *accounting.checks(reads, origins),
        *online.checks(reads, online_store, catalog.online_names(), Pauses(clock or SystemClock(), patience_s)),
    ]
    if windows and (found := compare_windows(reads, windows, catalog, Pauses(clock or SystemClock(), patience_s))):
        checks.append(found)
    return Report(tuple(checks), tuple(states), tuple(streams.declared(reads)))
