"""What a node needs that the machine may lack: sshd and rsync, unpacked beside it from Debian's packages, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster.stack import jars
from tests.fault.world import ROOT

NEEDED = ("unshare", "setpriv", "ip", "ssh", "ssh-keygen", "mount", "make", "bash")
ON_NODES = ("sshd", "rsync")
PACKAGES = ("openssh-server", "rsync", "libwrap0", "libpopt0")
PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 540


class Missing(Exception):
    """This machine cannot do it; the message says why, and what would change that."""


def check() -> None:
    """Raise Missing unless this process may make the namespaces of a node."""
    if absent := [tool for tool in NEEDED if shutil.which(tool, path=f"{PLACES}:/usr/local/bin") is None]:
        raise Missing(f"not installed: {', '.join(absent)}")
    _run(["unshare", "-m", "-n", "-u", "-i", "-p", "--fork", "--kill-child", "--mount-proc", "true"], "namespaces")


def unpacked(folder: Path) -> Path | None:
    """Return the folder to lay over /usr for what the machine lacks, filled; None when it lacks nothing."""
    if all(shutil.which(tool, path=PLACES) for tool in ON_NODES):
        return None
    if shutil.which("apt-get") is None:
        raise Missing(f"install {' and '.join(ON_NODES)}")
    folder.mkdir(parents=True)
    _run(["apt-get", "update", "-qq"], "Debian's list of packages")
    _run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *PACKAGES], "Debian's packages", folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package), str(folder / "all")], f"unpacking {package.name}")
    if (older := folder / "all" / "lib").is_dir():  # where they were before /lib became a link
        shutil.copytree(older, folder / "all" / "usr" / "lib", symlinks=True, dirs_exist_ok=True)
    return folder / "all" / "usr"


def wheels(lock: Path, kept: Path, folder: Path) -> None:
    """Fill a folder with all that the lock names: nodes have no other network than their own. `kept` is for the next time."""
    kept.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*command, "--require-hashes", "-r", str(lock), "-d", str(kept)], "the locked packages")
    shutil.copytree(kept, folder)


def isolated(module: str, folder: Path, *arguments: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m MODULE FOLDER WHEELS OVERLAY ARGUMENTS...` in namespaces of its own, with what nodes need in the folder.

    It must not be under /tmp, which each node has of its own. Raise Missing when this machine cannot make nodes.
    """
    check()
    overlay = unpacked(folder / "packages")
    jars.class_path()  # Kafka's, while there is a network
    wheels(ROOT / "requirements.lock", ROOT / ".raytide" / "wheels", folder / "wheels")
    # Processes of its own as well, nodes among them: all of them end with the first one, however that ends.
    namespaces = ["unshare", "-m", "-n", "-u", "-p", "--fork", "--kill-child", "--mount-proc"]
    command = ["setpriv", "--pdeathsig", "KILL", *namespaces, sys.executable, "-m", module]
    return subprocess.run(
        [*command, str(folder), str(folder / "wheels"), str(overlay or ""), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "proto")])},
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
    )


def _run(command: list[str], what: str, folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise Missing(f"{what}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
