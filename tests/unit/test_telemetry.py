"""A log that cannot be written must not end the thread that wanted to write it."""

from __future__ import annotations

import subprocess
import sys

FULL = """
import sys
class Full:
    def write(self, text): raise OSError(28, "No space left on device")
    def flush(self): raise OSError(28, "No space left on device")
sys.stderr = Full()
import structlog
from cluster.config import TelemetryConfig
from cluster.telemetry import set_up_logs
set_up_logs(TelemetryConfig())
structlog.get_logger().warning("something", n=1)
try:
    raise ValueError("x")
except ValueError:
    structlog.get_logger().exception("something_failed")
sys.stderr = sys.__stderr__  # Python flushes it at its end
print("goes on")
"""


def test_a_full_disk_under_the_log_is_not_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
