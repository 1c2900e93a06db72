"""Rejects after they were stored: looked at, and replayed through the definitions in force (decision 0011).

`selection` (which), `letters` (looking), `chunks` (bounded parts of a selection), `compute` (one part through the path),
`service` (the whole, and what a crash left).
"""

from cluster.dead_letters.compute import LocalPartRunner, Part, PartRunner, compute
from cluster.dead_letters.letters import DeadLetter
from cluster.dead_letters.selection import Place, Selection
from cluster.dead_letters.service import DeadLetterService, ReplayProgress

__all__ = [
    "DeadLetter",
    "DeadLetterService",
    "LocalPartRunner",
    "Part",
    "PartRunner",
    "Place",
    "ReplayProgress",
    "Selection",
    "compute",
]
