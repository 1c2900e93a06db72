"""Every process that answers clients, as any of them sees the others."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from actors import handles
from cluster.errors import RetryLater
from cluster.status import GatewayReport


def expected(name: str, processes: int) -> list[str]:
    """Return the names of the processes of the gateway that `name` is one of, and of those of other nodes."""
    node = handles.node_of(name)
    here = [handles.gateway_name(node, number) for number in range(1, processes + 1)]
    running: list[str] = handles.quietly(handles.names, [])
    return here + [one for one in running if one.startswith(handles.GATEWAY) and one not in here]


def reports(names: Iterable[str], seconds: float) -> tuple[GatewayReport, ...]:
    """Ask all of them, and return what they said within `seconds`; one that does not answer is AWAY."""
    deadline = time.monotonic() + seconds
    remotes = {name: handles.Remote(name) for name in names}
    asked = {name: handles.quietly(partial(remote.start, "address"), None) for name, remote in remotes.items()}
    return tuple(_report(name, ref, deadline) for name, ref in asked.items())


def _report(name: str, ref: Any, deadline: float) -> GatewayReport:
    if ref is None:
        return GatewayReport(name, note="it does not run")
    try:
        address = handles.value(ref, name, max(0.0, deadline - time.monotonic()))
    except RetryLater as error:
        return GatewayReport(name, note=str(error))
    return GatewayReport(name, "RUNNING", str(address))
