"""The registry of an app that runs: the writer keeps the versions, the supervisor brings them to everybody."""

from __future__ import annotations

import time

from actors import handles
from actors.clients import WriterClient
from actors.switching import AT_WORK
from cluster.status import PartitionReport

SWITCH_SECONDS = 20.0
GLANCE_SECONDS = 0.2


class RunningRegistry(WriterClient):
    """Meets Registry."""

    def behind(self, version: int) -> tuple[str, ...]:
        """Let the supervisor look at once, and wait for the partitions that are at work."""
        supervisor = handles.Remote(handles.SUPERVISOR)
        deadline = time.monotonic() + SWITCH_SECONDS
        supervisor.call("look_now")
        while late := [p for p in supervisor.call("partitions") if _is_late(p, version)]:
            if time.monotonic() > deadline:
                break
            time.sleep(GLANCE_SECONDS)  # partitions switch between two batches, and asking is how one learns of it
        return tuple(f"{p.actor} still computes with version {p.registry_version}: {p.state} {p.note}".rstrip() for p in late)


def _is_late(partition: PartitionReport, version: int) -> bool:
    return partition.state in AT_WORK and partition.registry_version < version
