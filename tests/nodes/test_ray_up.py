"""`ray up` with the shipped file on nodes made of namespaces, from set-up to `ray down`, with losses on the way."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.world import eventually
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
    mounts = Path("/proc/self/mounts").read_text()
    try:
        done = tools.isolated("tests.nodes.scenario", folder, seconds=SECONDS)
    except tools.Missing as missing:
        pytest.skip(f"this machine cannot make nodes: {missing}")
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
