"""Machines made of namespaces: each node has a network, processes, mounts, a host name and an sshd of its own.

The process that makes them is in namespaces of its own already (tests/nodes/test_ray_up.py sees to that): it has the
switch, and sees the nodes' processes. No namespace has a name, so all of it ends with the processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fault.world import eventually

NETWORK, SWITCH = "10.77.0", "10.77.0.1"
COMMAND_SECONDS = 420
_KINDS = ("mnt", "net", "pid", "uts")
_SSHD = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
"""


@dataclass(frozen=True)
class Node:
    """One machine. `pid` is its first process."""

    name: str
    address: str
    home: Path
    pid: int

    def processes(self) -> list[psutil.Process]:
        """Return all its processes."""
        own, found = Path(f"/proc/{self.pid}/ns/pid").stat(), []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process.pid}/ns/pid").stat().st_ino == own.st_ino:
                    found.append(process)
        return found

    def running(self, program: str) -> list[psutil.Process]:
        """Return its processes that run a program, named by the end of its path."""
        return [process for process in self.processes() if (_command(process) or [""])[0].endswith(program)]

    def of_ray(self) -> list[str]:
        """Return the command lines of Ray's processes, those of actors among them."""
        lines = [" ".join(_command(process)) for process in self.processes()]
        return [line for line in lines if "site-packages/ray/" in line or line.startswith("ray::")]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it, as if the machine stood still, or went on."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


class Rig:
    """The switch, and the nodes on it. Everything is under `folder`, which must not be under /tmp."""

    def __init__(self, folder: Path, overlay: Path | None, wheels: Path) -> None:
        self._folder, self._overlay, self._wheels = folder, overlay, wheels
        self._started: list[subprocess.Popen[bytes]] = []
        self.nodes: dict[str, Node] = {}
        self.key = folder / "key"

    @contextmanager
    def running(self) -> Iterator[Rig]:
        """Make the switch; end every node at the end."""
        if self._overlay:
            _run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={self._overlay}:/usr", "/usr")
        for name in ("key", "host_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name))
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "switch", "type", "bridge")
        _run("ip", "address", "add", f"{SWITCH}/24", "dev", "switch")
        _run("ip", "link", "set", "switch", "up")
        try:
            yield self
        finally:
            for process in self._started:
                process.kill()  # its child, the node's first process, dies with it, and all others with that
                process.wait()

    def add(self, name: str) -> Node:
        """Start a node, and return it once its sshd listens."""
        address, folder = f"{NETWORK}.{11 + len(self.nodes)}", self._folder / name
        self._prepare(name, address, folder)
        # The kernel ends `unshare` with us, and the node with `unshare`, however we end.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-n", "-u", "-i", "-p", "--fork", "--kill-child"]
        script = str(Path(__file__).with_name("node.sh"))
        with (folder / "sshd.log").open("wb") as log:
            started = subprocess.Popen(
                [*command, "--mount-proc", "bash", script, name, address, SWITCH, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(started)
        (first,) = eventually(lambda: psutil.Process(started.pid).children(), f"{name} has a first process")
        self._connect(len(self.nodes), first.pid)
        node = self.nodes[name] = Node(name, address, folder / "home", first.pid)
        eventually(lambda: _listens(address), f"sshd of {name} listens: see {folder / 'sshd.log'}", 20)
        return node

    def ssh_to(self, node: Node, *options: str) -> list[str]:
        """Return the command that opens a shell on a node."""
        known = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        quiet = [part for option in known for part in ("-o", option)]
        return ["ssh", *quiet, "-i", str(self.key), *options, f"root@{node.address}"]

    def ssh(self, node: Node, command: str, *, check: bool = True) -> str:
        """Run a command on a node as a person would; return what it prints. Fail with that unless it exits 0."""
        done = subprocess.run(
            [*self.ssh_to(node), f"source ~/.bashrc; {command}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{node.name}: {command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def namespaces(self) -> list[str]:
        """Return the names of all namespaces that were made, as the kernel gives them."""
        pids = [os.getpid(), *(node.pid for node in self.nodes.values())]
        return sorted({str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for pid in pids for kind in _KINDS})

    def _prepare(self, name: str, address: str, folder: Path) -> None:
        home, etc = folder / "home", folder / "etc"
        home.mkdir(parents=True)
        (folder / "tmp").mkdir(mode=0o1777)
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        (etc / "hostname").write_text(f"{name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").touch()
        _replace_account(etc / "passwd", f"root:x:0:0:root:{home}:/bin/bash")
        _replace_account(etc / "passwd", "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin")
        _replace_account(etc / "shadow", "root:*:19000:0:99999:7:::")  # neither a password nor locked
        (etc / "ssh").mkdir(exist_ok=True)
        (etc / "ssh" / "sshd_config").write_text(_SSHD.format(folder=self._folder))
        (etc / "pip.conf").write_text(f"[global]\nno-index = true\nno-compile = true\nfind-links = {self._wheels}\n")
        (home / ".bashrc").write_text(f'export PATH="{Path(sys.base_prefix) / "bin"}:$PATH"\n')

    def _connect(self, number: int, pid: int) -> None:
        _run("ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _run("ip", "link", "set", f"port{number}", "master", "switch", "up")


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _replace_account(file: Path, line: str) -> None:
    name = line.partition(":")[0]
    others = [known for known in file.read_text().splitlines() if not known.startswith(f"{name}:")]
    file.write_text("\n".join([line, *others]) + "\n")


def _listens(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, 22), timeout=1).close()
        return True
    return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
