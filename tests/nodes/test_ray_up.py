"""`ray up` with the shipped file on nodes made of namespaces, from set-up to `ray down`, with losses on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.stack import jars
from tests.fault.world import ROOT, eventually
from tests.nodes import tools
from tests.nodes.scenario import most_at_once

#: The longest that `make fault` may wait for this.
SECONDS = 1_500


def test_what_overlaps_is_counted() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([(0, 5), (5, 9)]) == 1
    assert most_at_once([(0, 5), (4, 9), (4, 6), (8, 9)]) == 3


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder that is not under /tmp, which each node has of its own."""
    with tempfile.TemporaryDirectory(prefix="raytide-nodes-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.mark.nodes
@pytest.mark.timeout(2 * SECONDS)
def test_a_cluster_comes_up_loses_nodes_grows_and_goes_and_loses_nothing(folder: Path) -> None:
    try:
        tools.check()
        overlay = tools.unpacked(folder / "packages")
        jars.class_path()  # Kafka's, while there is a network
        tools.wheels(ROOT / "requirements.lock", ROOT / ".raytide" / "wheels", folder / "wheels")
    except tools.Missing as missing:
        pytest.skip(f"this machine cannot make nodes: {missing}")
    # Processes of its own as well, nodes among them: all of them end with the first one, however that ends.
    namespaces = ["unshare", "-m", "-n", "-u", "-p", "--fork", "--kill-child", "--mount-proc"]
    command = ["setpriv", "--pdeathsig", "KILL", *namespaces, sys.executable, "-m", "tests.nodes.scenario"]
    mounts = Path("/proc/self/mounts").read_text()
    done = subprocess.run(
        [*command, str(folder), str(folder / "wheels"), str(overlay or "")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "proto")])},
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
        check=False,
    )
    made = set(json.loads((folder / "namespaces.json").read_text())) - _namespaces("self")
    assert made
    eventually(lambda: not made & _namespaces(), "no process is left in any of the namespaces", 10)
    assert Path("/proc/self/mounts").read_text() == mounts
    assert done.returncode == 0, "see above"


def _namespaces(processes: str = "[0-9]*") -> set[str]:
    """Return the names of the namespaces of some processes, of all if left out."""
    found = set()
    for link in Path("/proc").glob(f"{processes}/ns/*"):
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue  # it ended meanwhile
    return found
