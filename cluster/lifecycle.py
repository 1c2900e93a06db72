"""The composition root: what `raytide up` starts, in which order, and what `raytide down` stops in reverse.

Everything can be repeated: `up` over a running app starts only what is missing, `down` without one does nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from actors import draining, handles
from actors.gateway import Gateway
from actors.limiter import Limiter
from actors.registry import RunningRegistry
from actors.supervisor import Supervisor
from actors.writer import GROUPS, Writer
from cluster import placement, ray_head
from cluster.app import App
from cluster.config import FILE_NAME, STATE_FOLDER, Config, GatewayConfig, rooted
from cluster.errors import Misconfigured, RetryLater, Unreachable
from cluster.gateway.transport import is_loopback
from cluster.preflight import check_gateway, check_redis, check_writable
from cluster.ray_head import RayHead
from cluster.registry import loader
from cluster.registry.apply import put_in_force
from cluster.registry.catalog import Catalog
from cluster.stack import manager as stack
from cluster.stack.process import ProcessId, free_port, is_free
from cluster.stores.kafka_client import check_listening

APP_FILE = "app.json"
READY_SECONDS = 90.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """What `.raytide/app.json` remembers of a running app, for the CLI and for `down`."""

    project: str
    gateway: str
    dashboard: str
    ray_address: str
    config: str
    head: RayHead | None = None  # None on a Ray that is not ours
    stack: bool = False  # whether `up` started the local Kafka and Valkey

    @classmethod
    def read(cls, folder: Path) -> Running | None:
        """Return what is remembered under `folder`, or None."""
        try:
            content = json.loads((folder / STATE_FOLDER / APP_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        head = content.pop("head")
        if head is None:
            return cls(**content)
        process = ProcessId(**head.pop("process"))
        return cls(**content, head=RayHead(process=process, **head))

    @property
    def is_alive(self) -> bool:
        """Return whether it may still run; of a Ray that is not ours only asking it would tell."""
        return self.head is None or self.head.is_whole()

    def write(self, folder: Path) -> None:
        """Remember this under `folder`; there are no secrets in it."""
        path = folder / STATE_FOLDER / APP_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        fresh.replace(path)


def up(config: Config, project_folder: Path, folder: Path, say: Say) -> Running:
    """Start the app for `config` with its state under `folder`, or what is missing of it.

    Raise Misconfigured for wrong definitions or an unwritable database, Unreachable when Kafka, Redis or Ray are away.
    """
    config = rooted(config, folder)
    catalog = loader.load(config.project, project_folder / config.definitions)
    check_gateway(config.gateway)
    check_writable(folder / config.offline_store.path)
    known = Running.read(folder)
    stack_is_ours = _start_stack(config, folder, say) or (known is not None and known.stack)
    bootstrap, redis_url = _addresses(config, folder)
    check_listening(bootstrap)  # before Ray: the actors would wait for it, as they do when it goes away later
    check_redis(redis_url, config.online_store)
    head = _ray(config, folder, known, say)
    address = head.address if head else config.ray.address
    serving = known.gateway if known is not None and known.head == head else ""
    running = Running(config.project, serving, "", address, str(project_folder), head, stack_is_ours)
    running.write(folder)  # before the app: whatever happens from here on, `down` knows what to stop
    with connected(address, head) as dashboard:
        here = _placed(_hosts(bootstrap, redis_url))
        app = App(
            config=config.model_copy(update={"gateway": _with_port(config.gateway, serving, say)}),
            definitions=loader.to_bytes(catalog),
            version=0,
            bootstrap=bootstrap,
            redis_url=redis_url,
            folder=str(folder.resolve()),
            dashboard=dashboard,
        )
        running = replace(running, gateway=_start_actors(app, catalog, here, say), dashboard=dashboard)
    running.write(folder)
    return running


def _placed(servers: Iterable[str]) -> dict[str, str]:
    """Return the label selector of the node with the disk, which is this one.

    Raise Misconfigured when it is another one, or when `servers` (hosts) are not where nodes on other machines find them.
    """
    nodes, here = handles.nodes(), handles.node_id()
    far, near = placement.elsewhere(nodes, here), [server for server in servers if is_loopback(server)]
    if far and near:
        raise Misconfigured(
            f"Kafka or Redis is at {near[0]}, where the node {far} does not find it: name another address in "
            f"{FILE_NAME}, or start the local stack with `raytide stack up --host ADDRESS` of this machine"
        )
    return placement.disk(nodes, here)


def _start_actors(app: App, catalog: Catalog, here: Mapping[str, str], say: Say) -> str:
    """Start what is missing, in the order in which they need each other; return the gateway's address.

    All but partitions are pinned to this node: the files are on its disk, and without it nothing can be committed anyway.
    """
    say("starting writer")
    handles.ensure(Writer, handles.WRITER, app, groups=GROUPS, label_selector=here)
    _patiently(handles.WRITER, "snapshot")
    registry = RunningRegistry()
    version = put_in_force(registry, catalog).version
    app = replace(app, version=version)
    say("starting limiter")
    handles.ensure(Limiter, handles.LIMITER, app.config.workers, label_selector=here)
    _patiently(handles.LIMITER, "snapshot")
    say("starting supervisor and partitions")
    handles.ensure(Supervisor, handles.SUPERVISOR, app, max_concurrency=8, label_selector=here)
    _patiently(handles.SUPERVISOR, "partitions")
    for sentence in registry.behind(version):
        say(sentence)
    say("starting gateway")
    name = handles.gateway_name(handles.node_name())
    handles.ensure(Gateway, name, app, name, max_concurrency=8, label_selector=here)
    return str(_patiently(name, "address"))


def down(folder: Path, seconds: float, say: Say) -> list[str]:
    """Drain and stop the app of `folder`; return what was left undone after `seconds`, one sentence each."""
    running = Running.read(folder)
    if running is None:
        return []
    left: list[str] = []
    if running.is_alive:
        with connected(running.ray_address, running.head):
            left = draining.drain(seconds, say)
    if running.head is not None:
        say("Ray")
        ray_head.end(running.head)
    if running.stack:
        say("local stack")
        stack.down(folder / STATE_FOLDER)
    (folder / STATE_FOLDER / APP_FILE).unlink(missing_ok=True)
    return left


def _with_port(gateway: GatewayConfig, serving: str, say: Say) -> GatewayConfig:
    """Return the section with a port that is free; settled here, so that a restart of the gateway keeps it.

    `serving` is the address of a gateway that runs already and keeps its port.
    """
    if serving:
        return gateway.model_copy(update={"port": int(serving.rpartition(":")[2])})
    port = gateway.port if gateway.port and is_free(gateway.port) else free_port()
    if gateway.port not in (0, port):
        say(f"port {gateway.port} is taken: the gateway uses {port}")
    return gateway.model_copy(update={"port": port})


@contextmanager
def connected(address: str, head: RayHead | None) -> Iterator[str]:
    """Be a driver of the cluster; give its dashboard's address, empty when it has none."""
    if head is not None:
        os.environ.update({k: v for k, v in ray_head.environment().items() if k.startswith("RAY_")})
        os.environ.pop("RAY_ADDRESS", None)  # somebody else's cluster
    try:
        context = ray.init(address, namespace=handles.NAMESPACE, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError) as error:
        raise Unreachable(f"Ray at {address} does not answer: {error}") from error
    try:
        url = context.dashboard_url
        own = head.dashboard if head else ""
        yield f"http://{url}" if url else own  # Ray gives none while a dashboard that was just started is not ready
    finally:
        ray.shutdown()


def _start_stack(config: Config, folder: Path, say: Say) -> bool:
    """Start the parts of the local stack that the configuration leaves to it; return whether there was anything to do."""
    local = stack.status(folder / STATE_FOLDER)
    parts = (
        (stack.KAFKA, config.kafka.bootstrap_servers, local.bootstrap_servers),
        (stack.VALKEY, config.online_store.connection_string, local.redis_url),
    )
    wanted = {name for name, configured, _ in parts if configured is None}
    if not wanted or (local.running and all(found for name, _, found in parts if name in wanted)):
        return False
    say("starting local stack: " + ", ".join(sorted(wanted)))
    for service in stack.up(folder / STATE_FOLDER, services=wanted).services:
        if service.note:
            say(service.note)
    return True


def _ray(config: Config, folder: Path, known: Running | None, say: Say) -> RayHead | None:
    """Return our own head, started when needed; None when the configuration names a cluster."""
    if config.ray.address != "local":
        return None
    if known is not None and known.head is not None:
        if known.head.is_whole():
            return known.head
        ray_head.end(known.head)  # clears what a crash left
    say("starting Ray")
    head = ray_head.start(config.ray, folder.resolve() / STATE_FOLDER / "logs" / "ray.log")
    if config.ray.dashboard_port and not head.dashboard.endswith(f":{config.ray.dashboard_port}"):
        say(f"port {config.ray.dashboard_port} is taken: the Ray dashboard is at {head.dashboard}")
    return head


def _addresses(config: Config, folder: Path) -> tuple[str, str]:
    """Return the brokers and the Redis URL: configured, or the local stack's."""
    bootstrap = config.kafka.bootstrap_servers
    secret = config.online_store.connection_string
    redis_url = secret.get_secret_value() if secret else None
    local = stack.status(folder / STATE_FOLDER)
    return str(bootstrap or local.bootstrap_servers), str(redis_url or local.redis_url)


def _hosts(bootstrap: str, redis_url: str) -> list[str]:
    return [server.rpartition(":")[0] for server in bootstrap.split(",")] + [urlsplit(redis_url).hostname or ""]


def _patiently(name: str, method: str, *args: Any) -> Any:
    """Call an actor that may still be starting; raise Unreachable when it does not come up."""
    retrying = Retrying(
        retry=retry_if_exception_type(RetryLater),
        stop=stop_after_delay(READY_SECONDS),
        wait=wait_fixed(0.5),
        reraise=True,
    )
    try:
        return retrying(handles.Remote(name, READY_SECONDS).call, method, *args)
    except RetryLater as error:
        raise Unreachable(f"{name} did not come up within {READY_SECONDS:.0f} s: {error}") from error
