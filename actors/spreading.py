"""Keeps partitions evenly over the nodes of the cluster, also when nodes come and go.

A partition moves as in any other restart: drained, ended, and built anew elsewhere under the next epoch, so what its old
process might still do is refused. Ray itself starts those of a lost node on others; here that is evened out afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors import handles
from cluster import placement
from cluster.ingest.stream import Progress, State

DRAIN_SECONDS = 2.0
GONE_SECONDS = 2.0
STARTING_ON_A_NODE = 8
#: What a move does not change: a halted partition stays with the person who looks at it.
MOVABLE = {State.RUNNING, State.PAUSED}
#: While one is in these, Ray is still placing it.
UNSETTLED = {State.STARTING, State.AWAY}

Key = tuple[str, int]


class Spreading:
    """Caller: the supervisor's thread, at every look. It remembers only which nodes there were."""

    def __init__(self) -> None:
        self._nodes: tuple[str, ...] = ()
        self._log = structlog.get_logger()

    def look(self) -> bool:
        """Learn which nodes there are; say whether they are the same as at the last look."""
        before, self._nodes = self._nodes, tuple(sorted(node.node_id for node in handles.nodes()))
        return before == self._nodes

    def may_start(self, progress: Mapping[Key, Progress]) -> bool:
        """Say whether one more may be made now: a whole topic at once would keep all else from starting, the gateway too."""
        starting = sum(p.state in UNSETTLED for p in progress.values())
        return starting < STARTING_ON_A_NODE * max(1, len(self._nodes))

    def strategy(self, progress: Mapping[Key, Progress]) -> tuple[str, NodeAffinitySchedulingStrategy]:
        """Return the node for a partition that is to be made, and how Ray is told; any other does when that is lost."""
        node = placement.home(_where(progress), self._nodes)
        return node, NodeAffinitySchedulingStrategy(node, soft=True)

    def end_surplus(self, progress: Mapping[Key, Progress]) -> list[Key]:
        """End partitions that are too many on their node, once what they had in flight is committed; return them.

        At most one for each node at a look, so that most of them read on all the time.
        """
        if len(self._nodes) < 2 or any(p.state in UNSETTLED for p in progress.values()):  # noqa: PLR2004 - one is even
            return []
        movable = {key for key, p in progress.items() if p.state in MOVABLE}
        leaving = placement.surplus(_where(progress), self._nodes, movable)[: len(self._nodes)]
        names = [handles.partition_name(*key) for key in leaving]
        draining = [handles.quietly(partial(handles.Remote(name).start, "drain", DRAIN_SECONDS), None) for name in names]
        for name, ref in zip(names, draining, strict=True):
            if ref is not None:
                handles.quietly(partial(handles.value, ref, name, DRAIN_SECONDS + 1), None)
            self._log.info("partition_moves", actor=name)
            handles.end(name, GONE_SECONDS)
        return leaving


def _where(progress: Mapping[Key, Progress]) -> dict[Key, str]:
    return {key: p.node for key, p in progress.items()}
