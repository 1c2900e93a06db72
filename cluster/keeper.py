"""Starts the app again when its Ray has ended: the one failure that nothing inside of Ray can mend.

`raytide up` starts it in the app's folder, `raytide down` ends it. It only looks, until there is something to do: that is
done by a process of its own, because Ray takes 200 MB and this one is always there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import structlog

from cluster.config import TelemetryConfig
from cluster.errors import RaytideError
from cluster.running import Running
from cluster.telemetry import set_up_logs

LOOK_SECONDS = 1.0
#: Between two attempts: Kafka or Redis may be away as well.
PAUSE_SECONDS = 5.0
ONCE = "once"

log = structlog.get_logger()


def keep(folder: Path) -> None:
    """Look after the app of `folder` until `raytide down` has forgotten it."""
    while (running := Running.read(folder)) is not None:
        if running.is_up:
            time.sleep(LOOK_SECONDS)
            continue
        log.warning("not_up", ray=running.ray_address)
        done = subprocess.run([sys.executable, "-m", "cluster.keeper", ONCE], cwd=folder, check=False)  # noqa: S603 - ours
        if done.returncode:
            time.sleep(PAUSE_SECONDS)


def start_again(folder: Path) -> None:
    """Start the app of `folder` if its Ray has ended; exit 1 when that does not work now."""
    from cluster import lifecycle  # noqa: PLC0415 - Ray takes a second and 200 MB to import, and `keep` needs neither

    try:
        lifecycle.again(folder, lambda what: log.info("again", what=what))
    except RaytideError as error:
        log.warning("not_yet", error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    set_up_logs(TelemetryConfig())
    if sys.argv[1:] == [ONCE]:
        start_again(Path.cwd())
    else:
        keep(Path.cwd())
