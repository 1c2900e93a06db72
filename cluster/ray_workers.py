"""The workers of a cluster of one's own machines, stopped over ssh as `ray up` started them: `ray down` leaves them running."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.config_file import read_yaml
from cluster.errors import Misconfigured

SSH_SECONDS = 60
#: Gently, then what is still there: a worker without its head does not end when asked.
_STOP = "ray stop --grace-period 5; ray stop --force"
#: As Ray's own launcher does: keys of hosts are not checked, and nobody is asked for anything.
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "LogLevel": "ERROR",
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
}


@dataclass(frozen=True, slots=True)
class Workers:
    """Where they are, and the ssh command that reaches one, without its address."""

    addresses: tuple[str, ...]
    user: str
    ssh: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one worker; `trouble` is empty when Ray has ended there."""

    address: str
    trouble: str = ""


def read(file: Path) -> Workers:
    """Return the workers that a cluster file for `ray up` names; raise Misconfigured when it is not one with addresses."""
    if not file.exists():
        raise Misconfigured(f"there is no {file}: name the file that was given to `ray up`")
    content = read_yaml(file)
    provider, auth = content.get("provider") or {}, content.get("auth") or {}
    if provider.get("type") != "local" or "worker_ips" not in provider:
        raise Misconfigured(
            f"{file} names no worker_ips of a provider of type local: on a cloud, `ray down` ends the workers' machines itself"
        )
    if not auth.get("ssh_user"):
        raise Misconfigured(f"{file}: auth.ssh_user is missing, without which `ray up` does not work either: set it")
    return Workers(tuple(provider["worker_ips"]), auth["ssh_user"], _ssh(auth))


def stop(workers: Workers) -> Iterator[Stopped]:
    """Stop Ray on all of them at once, and say of each how that went, in their order."""
    with ThreadPoolExecutor(max(1, len(workers.addresses))) as pool:
        yield from pool.map(lambda address: _stop(workers, address), workers.addresses)


def _stop(workers: Workers, address: str) -> Stopped:
    # Set-up put `ray` on the PATH in ~/.bashrc, and many of these files end at once in a shell that is not interactive.
    command = [*workers.ssh, f"{workers.user}@{address}", f"bash --login -ic 'source ~/.bashrc; {_STOP}'"]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours, the addresses are the operator's
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SSH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Stopped(address, f"did not end within {SSH_SECONDS} s")
    said = (done.stderr or done.stdout).strip().splitlines()
    return Stopped(address, f"exit {done.returncode}: {said[-1] if said else 'no word'}" if done.returncode else "")


def _ssh(auth: dict[str, Any]) -> tuple[str, ...]:
    options = [part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")]
    if key := auth.get("ssh_private_key"):
        options += ["-i", str(Path(key).expanduser())]
    if proxy := auth.get("ssh_proxy_command"):
        options += ["-o", f"ProxyCommand={proxy}"]
    return ("ssh", *options)
