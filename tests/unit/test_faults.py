"""Arming is a death of one process, of the one that passes often enough; without the variable nothing is looked up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from cluster import faults
from cluster.faults import Point

PASSES = "from cluster.faults import Point, reach\nfor n in range(5):\n    print(n, flush=True)\n    reach(Point.POLLED)\n"


def run(program: str, folder: Path | None) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if name != faults.VARIABLE}
    environment = ours | ({faults.VARIABLE: str(folder)} if folder else {})
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_dies_at_the_pass_that_was_asked_for(tmp_path: Path) -> None:
    faults.arm(tmp_path, Point.POLLED, 3)
    done = run(PASSES, tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]
    assert int(faults.fired(tmp_path, Point.POLLED).read_text(encoding="utf-8")) > 0


def test_one_arming_is_one_death(tmp_path: Path) -> None:
    faults.arm(tmp_path, Point.POLLED)
    assert run(PASSES, tmp_path).returncode == -signal.SIGKILL
    assert run(PASSES, tmp_path).returncode == 0


def test_another_point_and_a_disarmed_one_are_passed(tmp_path: Path) -> None:
    faults.arm(tmp_path, Point.ANSWERED)
    faults.arm(tmp_path, Point.POLLED)
    faults.disarm(tmp_path, Point.POLLED)
    assert run(PASSES, tmp_path).returncode == 0


def test_without_the_variable_nothing_is_armed(tmp_path: Path) -> None:
    faults.arm(tmp_path, Point.POLLED)
    assert run(PASSES, None).returncode == 0


STEPPED = """
import time
from pathlib import Path
from cluster import faults
from cluster.clock import now_us
before = now_us()
faults.set_clock(Path({folder!r}), {ahead})
print(now_us() - before)
"""


def test_a_clock_that_is_set_back_goes_on_in_a_running_process(tmp_path: Path) -> None:
    assert 0 <= int(run(STEPPED.format(folder=str(tmp_path), ahead=-3_600_000_000), tmp_path).stdout) < 10_000_000


def test_a_clock_that_is_set_ahead_is_believed(tmp_path: Path) -> None:
    assert int(run(STEPPED.format(folder=str(tmp_path), ahead=3_600_000_000), tmp_path).stdout) >= 3_600_000_000
