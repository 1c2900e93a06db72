"""A Ray of our own on this machine: started beside any other, and stopped by process id, never by name.

`ray start --block` keeps every process of the node under one parent. The temp folder is short and outside the working
folder, because Ray's sockets live in it and a socket's path is limited to about 100 bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from cluster.config import RayConfig
from cluster.errors import Unreachable
from cluster.stack.process import HOST, ProcessId, alive, free_port, identify, is_free, spawn, stop

START_SECONDS = 60
STOP_SECONDS = 5
LONGEST_TEMP = 30
_DASHBOARDS = "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"
_VITAL = {"gcs_server", "raylet"}
_AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
_OTHERS = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_JOB_ID")
# A new worker process takes seconds to import what a piece of a file needs, and Ray would end each one after its task: those
# of a driver that has gone, as `raytide up` has, are never kept. There are at most as many as CPUs.
_WARM_WORKERS = {
    "RAY_kill_idle_workers_interval_ms": "0",
    "RAY_preload_python_modules": "actors.warm",
}
# Ray's own default is 15: every other program of the machine would go before streams and reads, and nothing of ours could
# give way to them (actors/priority.py).
_PRIORITY = {"RAY_worker_niceness": "0"}


@dataclass(frozen=True, slots=True)
class RayHead:
    """A running head: what to connect to, and what to stop."""

    address: str
    dashboard: str
    process: ProcessId
    temp: str

    def alive(self) -> bool:
        """Return whether the process that we started still runs."""
        return alive(self.process)

    def is_whole(self) -> bool:
        """Return whether what a node cannot do without runs as well.

        The process that we started ends with them, but not when the raylet ended itself, as it does without its agents.
        """
        if not self.alive():
            return False
        found = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.add(child.name())
        return found >= _VITAL


def environment() -> dict[str, str]:
    """Return our environment without what would make Ray join, or authenticate against, somebody else's cluster.

    Token mode is said explicitly, because Ray turns it on by itself when the user has a token file.
    """
    ours = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    return {**ours, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **_WARM_WORKERS, **_PRIORITY}


def start(config: RayConfig, log: Path, dashboards: Path) -> RayHead:
    """Start a head on free ports and wait until it answers; raise Unreachable with the log's path.

    Ray writes its dashboards for Grafana to `dashboards`.
    """
    port = free_port()
    dashboard = config.dashboard_port if config.dashboard_port and is_free(config.dashboard_port) else free_port([port])
    temp = tempfile.mkdtemp(prefix="raytide-", dir=_short_folder())
    log.parent.mkdir(parents=True, exist_ok=True)
    process = spawn(_command(config, port, dashboard, temp), log.parent, log, {**environment(), _DASHBOARDS: str(dashboards)})
    if process is None:
        raise Unreachable(f"Ray ended while starting; its log: {log}")
    head = RayHead(f"{HOST}:{port}", f"http://{HOST}:{dashboard}", process, temp)
    try:
        _wait_for_port(head, port, log)
    except BaseException:  # also Ctrl-C: nobody else knows of it yet
        end(head)
        raise
    return head


def end(head: RayHead) -> None:
    """End the head and every process under it; one that is gone already is fine."""
    # The parent alone would drain its node for half a minute; the app has been drained before.
    stop([head.process, *_descendants(head)], STOP_SECONDS)
    shutil.rmtree(head.temp, ignore_errors=True)


def end_workers(head: RayHead) -> None:
    """End every worker process, with what it has imported; those that come after it import what is there then."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(head.process.pid).children(recursive=True)
        stop([found for child in children if _is_worker(child) and (found := identify(child.pid))], STOP_SECONDS)


def _is_worker(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return any(part.startswith("ray::") or part.endswith("default_worker.py") for part in command) and command[0] not in _AGENTS


def _descendants(head: RayHead) -> list[ProcessId]:
    if not head.alive():
        return _strays(head.temp)
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(head.process.pid).children(recursive=True)
        return [found for child in children if (found := identify(child.pid))]
    return []


def _strays(temp: str) -> list[ProcessId]:
    """Return Ray processes that outlived a head that was killed; they carry its temp folder on their command line."""
    theirs = [p.pid for p in psutil.process_iter(["cmdline"]) if any(temp in part for part in p.info["cmdline"] or ())]
    return [found for pid in theirs if (found := identify(pid))]


def _command(config: RayConfig, port: int, dashboard: int, temp: str) -> list[str]:
    others: list[int] = [port, dashboard]
    for _ in range(5):
        others.append(free_port(others))
    flags = {
        "port": port,
        "dashboard-port": dashboard,
        "dashboard-host": HOST,
        "dashboard-agent-listen-port": others[2],
        "dashboard-agent-grpc-port": others[3],
        "runtime-env-agent-port": others[4],
        "metrics-export-port": others[5],
        "ray-client-server-port": others[6],
        "min-worker-port": 0,
        "max-worker-port": 0,
        "node-ip-address": HOST,
        "object-store-memory": config.object_store_bytes,
        "temp-dir": temp,
    }
    if config.num_cpus is not None:
        flags["num-cpus"] = config.num_cpus
    given = [f"--{name}={value}" for name, value in flags.items()]
    start = ["-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    return [_interpreter(Path(temp)), *start, *given]


def _interpreter(temp: Path) -> str:
    """Return our Python under a path without spaces: Ray starts some of its processes through an unquoted command line."""
    if " " not in sys.executable:
        return sys.executable
    link = temp / "python"
    link.symlink_to(sys.prefix)
    return str(link / Path(sys.executable).relative_to(sys.prefix))


def _short_folder() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) < LONGEST_TEMP else "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it


def _wait_for_port(head: RayHead, port: int, log: Path) -> None:
    @retry(retry=retry_if_exception_type(OSError), stop=stop_after_delay(START_SECONDS), wait=wait_fixed(0.1), reraise=True)
    def connect() -> None:
        if not head.alive():
            raise Unreachable(f"Ray ended while starting; its log: {log}")
        socket.create_connection((HOST, port), timeout=1).close()

    try:
        connect()
    except OSError as error:
        raise Unreachable(f"Ray did not answer on port {port} within {START_SECONDS} s; its log: {log}") from error
