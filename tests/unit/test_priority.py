"""A process that comes first has a session of its own, and the one it left has less."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.priority import SESSION_NICENESS

SWITCH = Path("/proc/sys/kernel/sched_autogroup_enabled")

pytestmark = pytest.mark.skipif(
    not SWITCH.exists() or SWITCH.read_text(encoding="ascii").strip() != "1", reason="no autogroups on this machine"
)

#: A node that starts a worker as Ray does, as the leader of a process group; each says its session and what that has.
NODE = """
import os, subprocess, sys
from pathlib import Path

def mine():
    return f"{os.getsid(0)} {Path('/proc/self/autogroup').read_text().split()[-1]}"

if len(sys.argv) > 1:
    from cluster.priority import come_first
    come_first()
    print(mine())
else:
    worker = subprocess.run([sys.executable, __file__, "worker"], process_group=0, capture_output=True, text=True, check=True)
    print(mine(), worker.stdout)
"""


def test_a_worker_leaves_its_node_and_the_node_has_less(tmp_path: Path) -> None:
    script = tmp_path / "node.py"
    script.write_text(NODE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    said = subprocess.run(
        [sys.executable, str(script)], env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    node, niceness, worker, niceness_of_worker = said.split()
    assert node != worker
    assert (int(niceness), int(niceness_of_worker)) == (SESSION_NICENESS, 0)
