"""The composition root: what `raytide up` starts, in which order, and what `raytide down` stops in reverse.

Everything can be repeated: `up` over a running app starts only what is missing, `down` without one does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from actors import draining, handles
from actors.gateway import Gateway
from actors.limiter import Limiter
from actors.registry import RunningRegistry
from actors.supervisor import Supervisor
from actors.writer import GROUPS, Writer
from cluster import config as configuration
from cluster import placement, ray_head
from cluster.addresses import addresses, hosts, settled
from cluster.app import App
from cluster.config import FILE_NAME, STATE_FOLDER, Config, rooted
from cluster.errors import Misconfigured, RetryLater, Unreachable
from cluster.gateway.transport import is_loopback
from cluster.keeping import kept
from cluster.monitoring.provision import RAY_TEMP, dashboards, provision
from cluster.preflight import check_gateway, check_redis, check_writable
from cluster.ray_head import RayHead
from cluster.registry import loader
from cluster.registry.apply import put_in_force
from cluster.registry.catalog import Catalog
from cluster.release import Release
from cluster.running import APP_FILE, Running, alone
from cluster.stack import manager as stack
from cluster.stack.process import stop
from cluster.stores.kafka_client import check_listening

READY_SECONDS = 90.0
KEEPER_SECONDS = 5.0
#: For what is in flight, when the processes of a running app are replaced.
DRAIN_SECONDS = 20.0

Say = Callable[[str], None]
#: Returns, under its version, the catalog that the app computes with.
Choose = Callable[[RunningRegistry], Catalog]


def up(config: Config, project_folder: Path, folder: Path, say: Say) -> Running:
    """Start the app for `config` with its state under `folder`, or what is missing of it.

    The processes of one that was started with another code or configuration are replaced; Kafka and Redis go on.
    Raise Misconfigured for wrong definitions or an unwritable database, Unreachable when Kafka, Redis or Ray are away.
    """
    catalog = loader.load(config.project, project_folder / config.definitions)
    with alone(folder, say):
        return _start(config, project_folder, folder, lambda registry: _registered(registry, catalog), say)


def again(folder: Path, say: Say) -> None:
    """Start what has ended of the app of `folder`, with the definitions in force; the project may hold others by now.

    Called by the keeper. Raise what `up` raises.
    """
    with alone(folder, say):
        known = Running.read(folder)
        if known is not None and not known.is_up:
            project = Path(known.config)
            _start(configuration.load(project), project, folder, _in_force, say)


def _start(config: Config, project_folder: Path, folder: Path, choose: Choose, say: Say) -> Running:
    config = rooted(config, folder)
    check_gateway(config.gateway)
    check_writable(folder / config.offline_store.path)
    known, release = Running.read(folder), Release.of(config)
    is_old = known is not None and known.is_up and known.release != release
    stack_is_ours = _start_stack(config, folder, say) or (known is not None and known.stack)
    bootstrap, redis_url = addresses(config, folder)
    check_listening(bootstrap)  # before Ray: the actors would wait for it, as they do when it goes away later
    check_redis(redis_url, config.online_store)
    if known is not None and is_old:
        known = _ended(known, release, say)
    head = _ray(config, folder, known, say)
    address = head.address if head else config.ray.address
    last = "" if known is None or (is_old and config.gateway.port) else known.gateway
    serving = known.gateway if known is not None and known.head == head and not is_old else ""
    gateway = settled(config.gateway, serving, last, say)
    keeper = known.keeper if known is not None else None
    running = Running(
        config.project,
        serving,
        "",
        address,
        str(project_folder),
        head,
        processes=gateway.processes,
        stack=stack_is_ours,
        keeper=keeper,
        release=release,
    )
    provision(folder / STATE_FOLDER, Path(head.temp) if head else RAY_TEMP)
    running.write(folder)  # before the app: whatever happens from here on, `down` knows what to stop
    with connected(address, head) as dashboard:
        here = _placed(hosts(bootstrap, redis_url))
        app = App(
            config=config.model_copy(update={"gateway": gateway}),
            definitions=b"",  # the writer, which comes first, knows which are in force
            version=0,
            bootstrap=bootstrap,
            redis_url=redis_url,
            folder=str(folder.resolve()),
            dashboard=dashboard,
        )
        running = replace(running, gateway=_start_actors(app, choose, here, say), dashboard=dashboard)
    running = kept(running, folder)
    running.write(folder)
    return running


def _ended(known: Running, release: Release, say: Say) -> Running:
    """End the processes of an app that is to be made of something else: the actors, and Ray if it is another one too."""
    say("the app runs with another code or configuration: its processes are replaced")
    with connected(known.ray_address, known.head):
        for sentence in draining.drain_and_end(DRAIN_SECONDS, lambda what: say(f"stopping {what}")):
            say(sentence)
    if known.keeper is not None:
        stop([known.keeper], KEEPER_SECONDS)
    if known.head is not None and (known.release is None or known.release.ray != release.ray):
        ray_head.end(known.head)
    elif known.head is not None:
        ray_head.end_workers(known.head)
    return replace(known, keeper=None)


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


def _start_actors(app: App, choose: Choose, here: Mapping[str, str], say: Say) -> str:
    """Start what is missing, in the order in which they need each other; return the gateway's address.

    All but partitions, and gateways that only read, are pinned to this node: the files are on its disk, and without it
    nothing can be committed anyway.
    """
    say("starting writer")
    handles.ensure(Writer, handles.WRITER, app, groups=GROUPS, label_selector=here)
    _patiently(handles.WRITER, "snapshot")
    registry = RunningRegistry()
    catalog = choose(registry)
    app = replace(app, definitions=loader.to_bytes(catalog), version=catalog.version)
    say("starting limiter")
    handles.ensure(Limiter, handles.LIMITER, app.config.workers, label_selector=here)
    _patiently(handles.LIMITER, "snapshot")
    say("starting supervisor and partitions")
    handles.ensure(Supervisor, handles.SUPERVISOR, app, max_concurrency=8, label_selector=here)
    _patiently(handles.SUPERVISOR, "partitions")
    for sentence in registry.behind(catalog.version):
        say(sentence)
    say("starting gateway")
    return _start_gateway(app, here)


def _start_gateway(app: App, here: Mapping[str, str]) -> str:
    """Start the gateway's processes, and return their address once all of them serve."""
    node = handles.short(handles.node_id())
    names = [handles.gateway_name(node, number) for number in range(1, app.config.gateway.processes + 1)]
    for name in names:
        handles.ensure(Gateway, name, app, name, max_concurrency=8, label_selector=here)
    addresses = [str(_patiently(name, "address")) for name in names]
    return addresses[0]


def _registered(registry: RunningRegistry, catalog: Catalog) -> Catalog:
    return catalog.registered_as(put_in_force(registry, catalog).version)


def _in_force(registry: RunningRegistry) -> Catalog:
    found = registry.in_force(0)
    if found is None:
        raise Misconfigured("no definitions are in force, because the app never came up: run `raytide up`")
    return loader.from_bytes(found.definitions).registered_as(found.version)


def down(folder: Path, seconds: float, say: Say) -> list[str]:
    """Drain and stop the app of `folder`; return what was left undone after `seconds`, one sentence each."""
    with alone(folder, say):
        return _stop(folder, seconds, say)


def _stop(folder: Path, seconds: float, say: Say) -> list[str]:
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
    if running.keeper is not None:
        stop([running.keeper], KEEPER_SECONDS)
    return left


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
    state = folder.resolve() / STATE_FOLDER
    head = ray_head.start(config.ray, state / "logs" / "ray.log", dashboards(state))
    if config.ray.dashboard_port and not head.dashboard.endswith(f":{config.ray.dashboard_port}"):
        say(f"port {config.ray.dashboard_port} is taken: the Ray dashboard is at {head.dashboard}")
    return head


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
