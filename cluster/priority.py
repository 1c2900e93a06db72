"""Who gets a full core first: work that can wait comes after the streams' commits, online reads do not wait for either."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

NICENESS = 10
#: Of all but the gateway: two thirds less than others get where processors are short, so that neither side starves.
SESSION_NICENESS = 5
_BEGAN_WITH = os.getpriority(os.PRIO_PROCESS, 0)  # a Ray that others started may give its workers a low one already


def give_way() -> None:
    """Lower the priority of this thread, and of those that it starts, for good.

    Only Linux has priorities of threads, where "this process" means the thread that asks; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, 0, max(_BEGAN_WITH + NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def come_first() -> None:
    """Make this process a session of its own, and let the one it was in have less, for good; a gateway does it for its answers.

    Linux gives processors to sessions first, and then to the processes in each (autogroups, sched(7)); in a control group of
    its own, as in a container, it does not, and elsewhere nothing happens. A gateway needs a processor seldom but at once: in
    the session of its Ray node, or beside it as an equal, one answer in a hundred waited 60 ms for partitions that always need
    one (docs/decisions/0024).
    """
    if sys.platform == "linux":
        node = os.getppid()
        with contextlib.suppress(OSError):  # not everywhere may a process do this: then its answers wait
            os.setpgid(0, os.getpgid(node))  # Ray makes each worker lead a process group, and a leader cannot open a session
            os.setsid()
            Path(f"/proc/{node}/autogroup").write_text(str(SESSION_NICENESS), encoding="ascii")
