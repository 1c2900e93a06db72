"""Processes that outlive the command that started them, and ports for them to listen on."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_CLOCK_TICK = 0.05  # the kernel counts process starts in hundredths of a second
#: Below the ports that systems give to outgoing connections, so that none of those takes a port that was just found free.
_FREE_PORTS = range(20_000, 32_000)
_DETACH = 'exec 3>"$1"; shift; "$@" </dev/null >&3 2>&1 3>&- & echo $!'


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process beyond doubt: a pid that was given to something else later has another start."""

    pid: int
    started: float  # seconds after the machine's boot, which no change of the clock moves


def identify(pid: int) -> ProcessId | None:
    """Return which process has `pid` now; None when there is none, or only a dead one waiting for its parent."""
    try:
        process = psutil.Process(pid)
        if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return None
        return ProcessId(pid, round(process.create_time() - psutil.boot_time(), 2))
    except psutil.NoSuchProcess:
        return None


def alive(known: ProcessId) -> bool:
    """Say whether exactly this process is still there."""
    now = identify(known.pid)
    return now is not None and abs(now.started - known.started) <= _CLOCK_TICK


def spawn(command: Sequence[str], folder: Path, output: Path, environment: Mapping[str, str]) -> ProcessId | None:
    """Start `command` in `folder`, in a session of its own, with this environment and what it prints going to `output`.

    It is nobody's child: Ctrl-C does not reach it, and it leaves no zombie behind. None when it has already ended.
    """
    shell = subprocess.run(  # noqa: S603 - the command is ours
        ["/bin/sh", "-c", _DETACH, "sh", str(output), *command],
        cwd=folder,
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return identify(int(shell.stdout))


def stop(known: Iterable[ProcessId], grace_seconds: float) -> None:
    """Ask the processes to end, all at once, and kill what is still there after `grace_seconds`."""
    there = [process for process in known if alive(process)]
    _signal(there, signal.SIGTERM)
    stubborn = _remaining(there, grace_seconds)
    _signal(stubborn, signal.SIGKILL)
    _remaining(stubborn, grace_seconds)


def _signal(known: Iterable[ProcessId], number: signal.Signals) -> None:
    for process in known:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself, which is what was asked for
            psutil.Process(process.pid).send_signal(number)


def _remaining(known: list[ProcessId], seconds: float) -> list[ProcessId]:
    deadline = time.monotonic() + seconds
    while (there := [process for process in known if alive(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return there


def is_free(port: int, host: str = HOST) -> bool:
    """Say whether a server can listen on `port` of an address of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections do not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(taken: Iterable[int] = (), host: str = HOST) -> int:
    """Return a port of `host` that nobody listens on and that is not in `taken`."""
    avoid = set(taken)
    candidates = random.sample(_FREE_PORTS, len(_FREE_PORTS))
    return next(port for port in candidates if port not in avoid and is_free(port, host))
