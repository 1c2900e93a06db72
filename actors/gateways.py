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
    said = ask(names, "address", seconds)
    return tuple(
        GatewayReport(name, note=str(found)) if isinstance(found, RetryLater) else GatewayReport(name, "RUNNING", str(found))
        for name, found in said.items()
    )


def ask(names: Iterable[str], method: str, seconds: float) -> dict[str, Any]:
    """Ask all of them at once, and return by name what they said within `seconds` together, or the RetryLater instead."""
    deadline = time.monotonic() + seconds
    remotes = {name: handles.Remote(name) for name in names}
    asked = {name: handles.quietly(partial(remote.start, method), None) for name, remote in remotes.items()}
    return {name: _answer(name, ref, deadline) for name, ref in asked.items()}


def _answer(name: str, ref: Any, deadline: float) -> Any:
    if ref is None:
        return RetryLater("it does not run")
    try:
        return handles.value(ref, name, max(0.0, deadline - time.monotonic()))
    except RetryLater as error:
        return error
