"""SIGTERM to an actor's process: finish what is in flight, then end. Ray builds the actor anew, as after any death.

Ray's own `__ray_shutdown__` comes too late for that: by then Ray has given the actor up and may already start its successor.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog

FINISH_SECONDS = 10.0


def on_sigterm(finish: Callable[[], object]) -> None:
    """Call `finish` in a thread of its own when SIGTERM comes, give it `FINISH_SECONDS` and a little, and end the process.

    Call in the actor's constructor: only the main thread may set signal handlers, and Ray runs constructors there.
    """
    begun = threading.Event()

    def end() -> None:
        structlog.get_logger().info("sigterm", next_step="finishing what is in flight")
        work = threading.Thread(target=finish, name="finish", daemon=True)
        work.start()
        work.join(FINISH_SECONDS + 2)
        os._exit(1)  # an exit that Ray takes for a death, after which it builds the actor anew

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not begun.is_set():
            begun.set()
            threading.Thread(target=end, name="sigterm", daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
