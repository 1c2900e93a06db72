"""Worker processes that wait with everything imported, so that an actor that died is built anew in one of them.

A process of its own costs a restarting actor seconds of imports, and the cores that its neighbours want. Ray gives it an
idle worker when one fits: the same kind of process, and never used, because Ray ties a worker to its first actor or task.
Such a worker can only be asked for, and told from others, by the raylet's own calls, which Ray's Python does not offer;
without an answer there is no spare, and restarts are slower.
"""

from __future__ import annotations

import time
from typing import Any

import grpc
import ray
import structlog
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

_CALL_SECONDS = 2.0
_KEEP_SECONDS = 10 * 365 * 86_400
#: One for an actor, and one because a piece of a file may take the other.
WANTED = 2
#: How long a worker may take until it waits; until then no other is asked for in its place.
_START_SECONDS = 10.0


class Spares:
    """Keeps idle workers on this node. Caller: one thread."""

    def __init__(self) -> None:
        self._known: set[int] = set()  # all that ever waited
        self._starting: list[float] = []  # until when each one that was asked for may take
        self._log = structlog.get_logger()

    def keep(self) -> list[int]:
        """Ask for others when some were taken, and return the process ids of those that wait; call it again and again."""
        try:
            here = ray.get_runtime_context().get_node_id()
            node = next(node for node in ray.nodes() if node["NodeID"] == here)
            with grpc.insecure_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
                return self._keep(node_manager_pb2_grpc.NodeManagerServiceStub(channel))
        except (grpc.RpcError, StopIteration) as error:
            self._log.warning("no_spare_worker", error=str(error))
            return []

    def _keep(self, raylet: Any) -> list[int]:
        unused, now = _unused_workers(raylet), time.monotonic()
        arrived = set(unused) - self._known
        self._known |= arrived
        self._starting = [until for until in self._starting[len(arrived) :] if until > now]
        missing = WANTED - len(unused) - len(self._starting)
        if missing > 0:
            request = node_manager_pb2.PrestartWorkersRequest(
                language=common_pb2.Language.PYTHON, num_workers=missing, keep_alive_duration_secs=_KEEP_SECONDS
            )
            raylet.PrestartWorkers(request, timeout=_CALL_SECONDS)
            self._starting += [now + _START_SECONDS] * missing
        return unused


def _unused_workers(raylet: Any) -> list[int]:
    """Return the workers that have never belonged to a job: the raylet then has no job for them."""
    stats = raylet.GetNodeStats(node_manager_pb2.GetNodeStatsRequest(include_memory_info=False), timeout=_CALL_SECONDS)
    workers = [w for w in stats.core_workers_stats if w.worker_type == common_pb2.WorkerType.WORKER]
    return sorted(w.pid for w in workers if not w.job_id.strip(b"\xff"))
