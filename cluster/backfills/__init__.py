"""Recomputing a view's features for a range of event time, under the definitions in force (decision 0015).

`plan` (what can be read, and what cannot), `compute` (a batch of records through the path, for one view), `share` (a
partition or a file, chunk by chunk), `stretch` (what a task does of it), `publish` (what history gained and lost, online),
`drive` (all shares to their ends), `service` (the whole, and what a crash left).
"""

from cluster.backfills.compute import Recompute
from cluster.backfills.plan import Asked, Left, Plan
from cluster.backfills.service import BackfillProgress, BackfillService
from cluster.backfills.stretch import LocalStretchRunner, StretchRunner

__all__ = [
    "Asked",
    "BackfillProgress",
    "BackfillService",
    "Left",
    "LocalStretchRunner",
    "Plan",
    "Recompute",
    "StretchRunner",
]
