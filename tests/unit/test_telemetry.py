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


IDENTIFIED = """
import structlog
from cluster.config import TelemetryConfig
from cluster.telemetry import set_up_logs
log = structlog.get_logger()
set_up_logs(TelemetryConfig(), topic="orders", partition=3)
log.info("a_line")
with structlog.contextvars.bound_contextvars(upload_id="u1"):
    log.info("within")
set_up_logs(TelemetryConfig(), upload_id="u2", piece=7)
log.info("other_work")
log.info("said_otherwise", piece=8)
"""


def test_each_line_says_whose_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", IDENTIFIED], capture_output=True, text=True, timeout=60, check=True)
    first, within, other, otherwise = done.stderr.splitlines()
    assert first.endswith("event='a_line' topic='orders' partition=3")
    assert within.endswith("event='within' topic='orders' partition=3 upload_id='u1'")
    assert other.endswith("event='other_work' upload_id='u2' piece=7"), "a process that takes up other work is not the old one"
    assert otherwise.endswith("event='said_otherwise' upload_id='u2' piece=8")
