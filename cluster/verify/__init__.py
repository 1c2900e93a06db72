"""The proof that nothing was lost, doubled or stale: what `raytide verify` runs.

`report` (what is found), `accounting` (ledger, positions and uploads against each other), `streams` (the ledger against
itself and Kafka), `newest` and `online` (Redis against history, also under live traffic), `windows` (their values online
against those from history).
"""

from cluster.verify.online import Clock
from cluster.verify.report import Check, PartitionState, Report
from cluster.verify.run import SystemClock, verify, verify_windows
from cluster.verify.windows import SAMPLE, Windows

__all__ = ["SAMPLE", "Check", "Clock", "PartitionState", "Report", "SystemClock", "Windows", "verify", "verify_windows"]
