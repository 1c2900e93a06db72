"""One worker process that waits with everything imported, so that an actor that died is built anew in it.

A process of its own costs a restarting actor seconds of imports, and the cores that its neighbours want. Ray gives it an
idle worker when one fits: the same kind of process, and never used, because Ray ties a worker to its first actor or task.
Such a worker can only be asked for by the raylet's own call, which Ray's Python does not offer; without an answer there is
no spare, and restarts are slower.
"""

from __future__ import annotations

import grpc
import psutil
import ray
import structlog
from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

_CALL_SECONDS = 2.0
_KEEP_SECONDS = 10 * 365 * 86_400


class Spare:
    """Keeps one idle worker on this node. Caller: one thread."""

    def __init__(self) -> None:
        self._pid = 0
        self._log = structlog.get_logger()

    def keep(self) -> None:
        """Ask for another one when an actor or a task took the last; call it again and again."""
        if _waits(self._pid):
            return
        try:
            before = _workers()
            _ask_raylet()
            self._pid = max(_workers() - before, default=0)
        except (grpc.RpcError, psutil.Error, StopIteration) as error:
            self._log.warning("no_spare_worker", error=str(error))


def _waits(pid: int) -> bool:
    """Return whether the worker is still starting, or idle, which Ray writes into its title."""
    try:
        title = psutil.Process(pid).cmdline()[0] if pid else "ray::none"
    except (psutil.Error, IndexError):
        return False
    return title == "ray::IDLE" or not title.startswith("ray::")


def _workers() -> set[int]:
    raylet = psutil.Process().parent()
    return {child.pid for child in raylet.children()} if raylet else set()


def _ask_raylet() -> None:
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    request = node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.Language.PYTHON, num_workers=1, keep_alive_duration_secs=_KEEP_SECONDS
    )
    with grpc.insecure_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
        node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers(request, timeout=_CALL_SECONDS)
