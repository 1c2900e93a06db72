"""Rejects after they were stored: looked at, and replayed through the definitions in force (decision 0011).

`selection` (which), `letters` (looking), `chunks` (bounded parts of a selection), `compute` (one part through the path),
`service` (the whole, and what a crash left).
"""

from cluster.dead_letters.compute import ChunkRunner, LocalChunkRunner, compute
from cluster.dead_letters.letters import DeadLetter
from cluster.dead_letters.selection import Place, Selection
from cluster.dead_letters.service import DeadLetterService, ReplayProgress

__all__ = [
    "ChunkRunner",
    "DeadLetter",
    "DeadLetterService",
    "LocalChunkRunner",
    "Place",
    "ReplayProgress",
    "Selection",
    "compute",
]
