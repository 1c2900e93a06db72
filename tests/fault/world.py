"""A running app with everything around it, that a test may hurt: the demo project on a stack and a Ray of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
import redis
from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc

from cluster import faults
from cluster.errors import RaytideError
from raytide.client import RaytideClient

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 180.0
RECOVERY_SECONDS = 90.0
#: Small pieces, so that a file of a few thousand rows has several.
SETTINGS = {
    "RAYTIDE_GATEWAY__PORT": "0",
    "RAYTIDE_RAY__DASHBOARD_PORT": "0",
    "RAYTIDE_RAY__NUM_CPUS": "2",
    "RAYTIDE_UPLOADS__PIECE_BYTES": "100000",
    "RAYTIDE_UPLOADS__MIN_FREE_BYTES": "0",
    # Ten transactions a second: those of a few thousand events a second would take a fifth of a processor by default.
    "RAYTIDE_OFFLINE_STORE__GROUP_COMMIT_MS": "100",
    # A broker that lives for a minute: compiling its code twice would cost it more than it runs.
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
#: So that a few seconds of traffic are put in order while it flows.
SOON_IN_ORDER = {"RAYTIDE_OFFLINE_STORE__CLUSTERING_ROWS": "3000", "RAYTIDE_OFFLINE_STORE__CLUSTERING_SHARE": "1"}


class Stuck(AssertionError):
    """Something did not happen in time."""


def eventually(condition: Callable[[], Any], what: str, seconds: float = RECOVERY_SECONDS, every: float = 0.05) -> Any:
    """Return the first true answer of `condition`; raise Stuck, naming `what`, when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise Stuck(f"within {seconds:.0f} s this did not happen: {what}")
        time.sleep(every)  # it happens in other processes, and asking is how one learns of it
    return answer


class World:
    """One app in `folder`, made of the code in `source`. `brokers` is 1 or 3."""

    def __init__(self, folder: Path, source: Path = ROOT, brokers: int = 1, settings: Mapping[str, str] | None = None) -> None:
        self.folder, self.source, self.brokers = folder, source, brokers
        self.faults = folder / "faults"
        self.faults.mkdir(parents=True)
        self._settings = {**SETTINGS, **(settings or {})}
        if brokers > 1:
            self._settings["RAYTIDE_KAFKA__REPLICATION_FACTOR"] = str(brokers)
        self._client: RaytideClient | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[World]:
        """Start stack and app, and stop both at the end whatever happened."""
        try:
            self.stack_up()
            self.app_up()
            yield self
        finally:
            self._forget_client()
            self.raytide("down", "--seconds", "5", check=False)
            self.raytide("stack", "down", check=False)

    # The command line, as a user has it.

    def raytide(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb in the app's folder; raise Stuck with what it printed unless it exits 0 or `check` is off."""
        done = subprocess.run(
            [sys.executable, "-m", "cluster", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            raise Stuck(f"raytide {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def environment(self) -> dict[str, str]:
        """Return ours without a Ray or a configuration of somebody else, and with crash points ready to be armed."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYTIDE_"))}
        ours.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would compile the same code
        path = os.pathsep.join([str(self.source), str(self.source / "proto")])
        return {
            **ours,
            **self._settings,
            faults.VARIABLE: str(self.faults),
            "PYTHONPATH": path,
            "RAY_ADDRESS": "192.0.2.1:6379",
        }

    def stack_up(self) -> None:
        """Start what is missing of Kafka and Valkey."""
        self.raytide("stack", "up", "--kafka-port", "0", "--redis-port", "0", "--brokers", str(self.brokers))

    def app_up(self) -> None:
        """Start what is missing of the app."""
        self.raytide("up", "--project", str(self.source / "examples" / "demo"))
        self._forget_client()

    # What runs where.

    def remembered(self) -> Any:
        """Return what `.raytide/app.json` says."""
        return json.loads((self.folder / ".raytide" / "app.json").read_text(encoding="utf-8"))

    def gateway(self) -> str:
        """Return the gateway's address; empty while the app starts."""
        with contextlib.suppress(OSError, ValueError):
            return str(self.remembered()["gateway"])
        return ""

    def services(self) -> dict[str, Any]:
        """Return what `.raytide/stack.json` says of each service, by name."""
        found = json.loads((self.folder / ".raytide" / "stack.json").read_text(encoding="utf-8"))["services"]
        return {service["name"]: service for service in found}

    @property
    def bootstrap(self) -> str:
        """Return the brokers' addresses."""
        return ",".join(f"127.0.0.1:{s['ports'][0]}" for name, s in sorted(self.services().items()) if name != "valkey")

    def service_pid(self, name: str) -> int:
        """Return the process id of a service of the stack."""
        return int(self.services()[name]["process"]["pid"])

    def actors(self) -> dict[str, int]:
        """Return the process id of each living actor, by name; empty while Ray's control store does not answer."""
        return {actor.name: actor.pid for actor in self.living_actors() if actor.pid}

    def living_actors(self) -> list[Any]:
        """Return what Ray's control store knows of each living actor, nothing while it does not answer.

        The dashboard knows it seconds later, and needs a hundred times as long for its answer.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, grpc.RpcError):
            with grpc.insecure_channel(self.remembered()["ray_address"]) as channel:
                asked = gcs_service_pb2.GetAllActorInfoRequest(show_dead_jobs=True)  # that of `raytide up` has ended
                answer = gcs_service_pb2_grpc.ActorInfoGcsServiceStub(channel).GetAllActorInfo(asked, timeout=5)
            return [actor for actor in answer.actor_table_data if actor.state == gcs_pb2.ActorTableData.ALIVE]
        return []

    def pid_of(self, name: str) -> int:
        """Return the process id of an actor, named by the beginning of its name, once it lives."""
        return int(eventually(lambda: next((pid for actor, pid in self.actors().items() if actor.startswith(name)), 0), name))

    def head(self) -> psutil.Process:
        """Return the Ray head's process."""
        return psutil.Process(self.remembered()["head"]["process"]["pid"])

    def processes(self) -> list[int]:
        """Return the process ids of the app."""
        return [process.pid for process in self.head().children(recursive=True)]

    def idle_cpu(self) -> float:
        """Return the CPU seconds that workers without an actor or a task have used."""
        used = 0.0
        for process in self.head().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] == ["ray::IDLE"]:
                    used += process.cpu_times().user
        return used

    @staticmethod
    def tasks(workers: Sequence[int]) -> list[int]:
        """Return those of some processes in which an upload task runs right now: cheap, for those who ask all the time."""
        found = []
        for pid in workers:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::upload:"):
                    found.append(pid)
        return found

    # What the stores hold.

    @property
    def client(self) -> RaytideClient:
        """Return a client of the app's gateway."""
        if self._client is None:
            self._client = RaytideClient(self.remembered()["gateway"], timeout_s=30)
        return self._client

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query, waiting for a gateway or writer that is away."""

        def ask() -> tuple[list[dict[str, Any]]] | None:
            with contextlib.suppress(RaytideError):
                return (self.client.sql(statement).to_pylist(),)
            return None

        (rows,) = eventually(ask, f"an answer to {statement[:80]}")
        return list(rows)

    def redis(self) -> redis.Redis:
        """Return a client of the Redis-compatible server."""
        port = self.services()["valkey"]["ports"][0]
        return redis.Redis(port=port, decode_responses=True, socket_timeout=30)

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def kill(pid: int) -> float:
    """End a process at once; return when, as seconds since 1970."""
    at = time.time()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return at


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Let a process stand still inside the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
