"""A cluster that `ray up` makes on the rig's nodes from the shipped file, with an app on it that a test may hurt."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import redis
import yaml

from cluster.stack import jars
from cluster.stack.process import free_port
from raytide.client import RaytideClient
from tests.fault.world import ROOT, Stuck, World, eventually
from tests.nodes.rig import COMMAND_SECONDS, Node, Rig

#: Fewer slots for files than the nodes have processors, so that only the cap keeps their tasks from all running at once.
SLOTS, FOR_STREAMS = 7, 4
JOIN_SECONDS = 240.0


class Launched(World):
    """The app on the cluster. `launch` is `ray up`; verbs of `raytide` run on the head, as docs/operations.md says."""

    def __init__(self, rig: Rig, folder: Path, head: Node, workers: Sequence[Node]) -> None:
        super().__init__(folder / "world")
        self.rig, self.head_node, self.workers = rig, head, list(workers)
        self._folder, self._file, self._token = folder, folder / "ray_config.yaml", folder / "token"
        self._token.touch(mode=0o600)
        self._token.write_text(os.urandom(32).hex())
        self._dashboard = f"http://127.0.0.1:{free_port()}"
        self._app: Any = {"gateway": ""}

    # The cluster, as an operator has it.

    def launch(self, *options: str) -> None:
        """Run `ray up` with the shipped file: with addresses, key and token of here, and with gateways on workers."""
        cluster = yaml.safe_load((ROOT / "ray_config.yaml").read_text(encoding="utf-8"))
        cluster["provider"] |= {
            "head_ip": self.head_node.address,
            "worker_ips": [node.address for node in self.workers],
        }
        cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.rig.key)}
        cluster["max_workers"] = len(self.workers)
        cluster["file_mounts"]["~/.ray/auth_token"] = str(self._token)
        cluster["worker_start_ray_commands"][-1] += " --labels=raytide.gateway=yes"
        self._file.write_text(yaml.safe_dump(cluster, sort_keys=False))
        self._launcher("ray", "up", "-y", "--no-config-cache", *options, str(self._file))

    def joined(self, count: int) -> None:
        """Return when so many nodes live."""
        try:
            eventually(lambda: len(self.living()) == count, f"{count} nodes live", JOIN_SECONDS, 1.0)
        except Stuck as stuck:
            said = self.rig.ssh(self.head_node, "tail -n 60 /tmp/ray/session_latest/logs/monitor.*", check=False)
            raise Stuck(f"{stuck}; Ray's launcher on the head said:\n{said}") from None

    def take_down(self) -> None:
        """Run `ray down`, and stop the workers, which that leaves."""
        self._launcher("ray", "down", "-y", str(self._file))
        self._launcher("raytide", "cluster", "stop-workers", str(self._file))

    def living(self) -> dict[str, str]:
        """Return the address of each node that lives by Ray's id, as the dashboard says."""
        found = self._ask("/nodes?view=summary")
        nodes = found["data"]["summary"] if found else []
        return {n["raylet"]["nodeId"]: n["raylet"]["nodeManagerAddress"] for n in nodes if n["raylet"].get("state") == "ALIVE"}

    def places(self) -> dict[str, str]:
        """Return the address of the node of each living actor, by name."""
        nodes, found = self.living(), self._ask("/logical/actors")
        actors = found["data"]["actors"].values() if found else []
        return {a["name"]: nodes.get(a["address"]["nodeId"], "") for a in actors if a["state"] == "ALIVE" and a["name"]}

    def partitions_at(self) -> Counter[str]:
        """Return how many partitions each living node has."""
        counts = Counter(dict.fromkeys(self.living().values(), 0))
        counts.update(at for name, at in self.places().items() if name.startswith("partition:"))
        return counts

    def upload_tasks(self, upload_id: str) -> list[dict[str, Any]]:
        """Return what Ray's own state says of every task of a file that has ended, in the order of its pieces.

        Each is asked for by its name: a list of all tasks would be cut, as every call of an actor is one.
        """
        found: list[dict[str, Any]] = []
        while ended := [t for t in self._tasks_called(f"upload:{upload_id}:{len(found)}") if t["end_time_ms"]]:
            found.append(ended[-1])
        return found

    def _tasks_called(self, name: str) -> list[dict[str, Any]]:
        wanted = urlencode({"detail": "true", "filter_keys": "name", "filter_predicates": "=", "filter_values": name})
        found = self._ask(f"/api/v0/tasks?{wanted}")
        return list(found["data"]["result"]["result"]) if found else []

    def open_without_token(self) -> bool:
        """Return whether the dashboard gives its state to somebody without the token."""
        try:
            urllib.request.urlopen(f"{self._dashboard}/logical/actors", timeout=5).close()  # noqa: S310 - our own
        except urllib.error.HTTPError:
            return False
        return True

    @contextmanager
    def tunnel(self) -> Iterator[None]:
        """Reach the head's dashboard, which listens at its loopback, through ssh as docs/operations.md says."""
        local = self._dashboard.rpartition(":")[2]
        command = self.rig.ssh_to(self.head_node, "-N", "-L", f"{local}:127.0.0.1:8265")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    # The app, as every world has it.

    def raytide(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb on the head, in the app's folder."""
        settings = " ".join(f"{name}={value}" for name, value in self.settings().items())
        command = f"mkdir -p ~/app && cd ~/app && {settings} raytide {' '.join(arguments)}"
        said = self.rig.ssh(self.head_node, command, check=check)
        return subprocess.CompletedProcess(arguments, 0, said, "")

    def stack_up(self) -> None:
        """Start the local stack on the head, where the workers find it, from jars that are here already."""
        kept = self.head_node.home / ".cache" / "raytide"
        shutil.copytree(jars.cache_folder(), kept, dirs_exist_ok=True)
        self.raytide("stack", "up", "--host", self.head_node.address)

    def app_up(self) -> None:
        """Start what is missing of the app."""
        self.raytide("up", "--project", "~/raytide/examples/demo")
        self._app = json.loads(self.rig.ssh(self.head_node, "cat ~/app/.raytide/app.json"))
        self._forget_client()

    def close(self) -> None:
        """Let go of the connections."""
        self._forget_client()

    def remembered(self) -> Any:
        """Return what `.raytide/app.json` said when the app was started."""
        return self._app

    def services(self) -> dict[str, Any]:
        """Return what `.raytide/stack.json` says of each service, by name."""
        found = json.loads((self.head_node.home / "app" / ".raytide" / "stack.json").read_text())["services"]
        return {service["name"]: service for service in found}

    @property
    def bootstrap(self) -> str:
        """Return the broker's address."""
        return f"{self.head_node.address}:{self.services()['kafka-1']['ports'][0]}"

    @property
    def client(self) -> RaytideClient:
        """Return a client of the app's gateway."""
        if self._client is None:
            self._client = RaytideClient(self._app["gateway"], timeout_s=30)
        return self._client

    def redis(self) -> redis.Redis:
        """Return a client of the Redis-compatible server."""
        port = self.services()["valkey"]["ports"][0]
        return redis.Redis(host=self.head_node.address, port=port, decode_responses=True, socket_timeout=30)

    def settings(self) -> dict[str, str]:
        """Return the app's configuration, as the environment has it."""
        host = self.head_node.address
        return {
            "RAYTIDE_RAY__ADDRESS": "auto",
            "RAYTIDE_GATEWAY__HOST": host,
            "RAYTIDE_GATEWAY__PLAINTEXT_HOST": host,
            "RAYTIDE_GATEWAY__ALLOW_PLAINTEXT": "true",
            "RAYTIDE_GATEWAY__ALLOW_ANONYMOUS": "true",
            "RAYTIDE_UPLOADS__PIECE_BYTES": "500000",
            "RAYTIDE_UPLOADS__MIN_FREE_BYTES": "0",
            "RAYTIDE_WORKERS__MAX": str(SLOTS),
            "RAYTIDE_WORKERS__RESERVED_FOR_STREAMS": str(FOR_STREAMS),
        }

    def _ask(self, path: str) -> Any:
        """Return the dashboard's answer; None while it does not answer."""
        bearer = {"Authorization": f"Bearer {self._token.read_text()}"}
        with contextlib.suppress(OSError, ValueError):
            request = urllib.request.Request(self._dashboard + path, headers=bearer)  # noqa: S310 - our own dashboard
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return json.load(answer)
        return None

    def _launcher(self, *command: str) -> None:
        began, log = time.monotonic(), self._folder / "launcher.log"
        module = {"ray": "ray.scripts.scripts", "raytide": "cluster"}[command[0]]
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, "-m", module, *command[1:]],
                cwd=ROOT,
                env=self._launcher_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        said = f"{' '.join(command)}: exit {done.returncode} after {time.monotonic() - began:.0f} s"
        print(said, flush=True)  # noqa: T201 - the report of the scenario
        assert not done.returncode, log.read_text(errors="replace")[-5000:]

    def _launcher_environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYTIDE_"))}
        return {**ours, "HOME": str(self._folder / "launcher"), "RAY_TMPDIR": str(self._folder / "launcher")}
