"""Work that can wait runs behind the streams' commits, so that full cores are theirs first."""

from __future__ import annotations

import os
import sys

NICENESS = 10
_BEGAN_WITH = os.getpriority(os.PRIO_PROCESS, 0)  # a Ray that others started may give its workers a low one already


def give_way() -> None:
    """Lower the priority of this thread, and of those that it starts, for good.

    Only Linux has priorities of threads, where "this process" means the thread that asks; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, max(_BEGAN_WITH + NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
