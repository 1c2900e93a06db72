"""docs/tutorial.md, command by command: each must work, and say the lines that the page says it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.conftest import ROOT, environment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(bash|text|python send\.py)\n(.*?)```", re.DOTALL)
SECONDS = 180


def shell() -> dict[str, str]:
    """Return an environment in which `raytide` and `python` are ours and no port is taken."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    code = os.pathsep.join([str(ROOT), str(ROOT / "proto")])
    return {**environment(), "PATH": path, "PYTHONPATH": code, "COLUMNS": "200"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    down = [sys.executable, "-m", "cluster", "down"]
    subprocess.run(down, cwd=tmp_path, env=shell(), check=False, capture_output=True, timeout=SECONDS)


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=shell(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return " ".join(done.stdout.split())


def test_each_command_of_the_tutorial_does_what_the_page_says(folder: Path) -> None:
    said = ""
    kinds = []
    for kind, text in BLOCK.findall(PAGE):
        kinds.append(kind)
        if kind == "bash":
            said = run(text, folder)
        elif kind == "text":
            missing = [line for line in text.splitlines() if " ".join(line.split()) not in said]
            assert not missing, f"{missing} not in {said}"
        else:
            (folder / "send.py").write_text(text, encoding="utf-8")
    assert kinds.count("bash") >= 12
    assert PAGE.count("```") == 2 * len(kinds)
