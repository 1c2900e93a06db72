"""Work that can wait runs at a lower priority than streams, so that full cores are theirs first."""

from __future__ import annotations

import os

_NICENESS = 10
_BEGAN_WITH = os.getpriority(os.PRIO_PROCESS, 0)  # a Ray that others started may give its workers a low one already


def give_way() -> None:
    """Lower the priority of this process, for good. Caller: a task; Ray builds no actor in a process that ran one."""
    os.setpriority(os.PRIO_PROCESS, 0, max(_NICENESS + _BEGAN_WITH, os.getpriority(os.PRIO_PROCESS, 0)))
