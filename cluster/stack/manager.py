"""Starts what is not there, repairs what broke, and stops only what it started: the stack of one state folder.

The first port of a service is for clients. A default port that somebody else has is replaced by a free one, and said.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import Misconfigured, Unreachable
from cluster.stack import kafka, state, valkey
from cluster.stack.process import HOST, alive, free_port, is_free, stop
from cluster.stack.state import Service

KAFKA, VALKEY = "kafka", "valkey"
BOTH = frozenset({KAFKA, VALKEY})
_POLL_SECONDS = 0.05
_TAIL_LINES = 15
_DYING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One process of the stack. `running` means that it is there and answers; `note` says what a person should know."""

    name: str
    pid: int
    ports: tuple[int, ...]
    running: bool
    log: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What the stack of a folder started. An address is None when that part was not started here."""

    bootstrap_servers: str | None
    redis_url: str | None
    services: tuple[ServiceStatus, ...]

    @property
    def running(self) -> bool:
        """Say whether something was started here and all of it runs."""
        return bool(self.services) and all(service.running for service in self.services)


def up(
    state_folder: Path,
    *,
    brokers: int | None = None,
    kafka_port: int = 9092,
    redis_port: int = 6380,
    services: Collection[str] = BOTH,
    host: str | None = None,
) -> StackStatus:
    """Start what of `services` does not run, wait until it answers, and return how things are.

    `brokers` is 1 or 3; left out, what the folder's data was made for, else 1. Data in the folder is kept and used.
    `host` is the address of this machine to listen at; left out, where it listens already, else loopback.
    Raise Unreachable, with the end of its log, for a service that does not come up; Misconfigured for a wrong wish.
    """
    folder = state_folder.absolute()
    with state.locked(folder):
        _Stack(folder, host).up(brokers, kafka_port, redis_port, services)
    return status(folder)


def down(state_folder: Path) -> StackStatus:
    """Stop what `up` started in this folder, and nothing else; data and logs stay. Return what was stopped."""
    folder = state_folder.absolute()
    with state.locked(folder):
        services = state.read(folder)
        stop([service.process for service in services], max(kafka.STOP_SECONDS, valkey.STOP_SECONDS))
        before = status(folder)
        (folder / state.FILE_NAME).unlink(missing_ok=True)
    return before


def status(state_folder: Path) -> StackStatus:
    """Look at each started service; nothing is changed."""
    services = state.read(state_folder.absolute())
    return StackStatus(**_addresses(services), services=tuple(_look(service) for service in services))


def _look(service: Service) -> ServiceStatus:
    there = alive(service.process)
    running = there and _answers(service)
    trouble = "" if running else f"there, but not answering: see {service.log}" if there else "not running"
    note = "; ".join(part for part in (service.note, trouble) if part)
    return ServiceStatus(service.name, service.process.pid, service.ports, running, service.log, note)


def _answers(service: Service) -> bool:
    answers = valkey.answers if service.name == VALKEY else kafka.answers
    return answers(service.ports[0], service.host)


def _addresses(services: Iterable[Service]) -> dict[str, str | None]:
    clients = {service.name: f"{service.host}:{service.ports[0]}" for service in services}
    redis = clients.pop(VALKEY, None)
    return {
        "bootstrap_servers": ",".join(address for _, address in sorted(clients.items())) or None,
        "redis_url": f"redis://{redis}/0" if redis else None,
    }


class _Stack:
    """The services of one folder while its lock is held; each change is on disk before anything waits for it."""

    def __init__(self, folder: Path, host: str | None) -> None:
        self._folder = folder
        self._services = {service.name: service for service in state.read(folder)}
        self._host = _host(self._services.values(), host)

    def up(self, brokers: int | None, kafka_port: int, redis_port: int, services: Collection[str]) -> None:
        for known in self._services.values():
            _settle(known)
        if VALKEY in services:
            self._valkey(redis_port)
        if KAFKA in services:
            self._kafka(_cluster_size(self._folder, brokers), kafka_port)
        for service in self._services.values():
            _wait(service)
        if VALKEY in self._services:
            valkey.loaded(self._folder)

    def _valkey(self, wished: int) -> None:
        if self._runs(VALKEY):
            return
        before = self._services.get(VALKEY)
        if before and is_free(before.ports[0], self._host):
            port, note = before.ports[0], before.note
        else:
            port, note = _port(wished, (), self._host)
        process = valkey.start(self._folder, self._host, port)
        self._remember(Service(VALKEY, process, (port,), str(valkey.log(self._folder)), note, self._host))

    def _kafka(self, size: int, wished: int) -> None:
        nodes, notes = self._nodes(size, wished)
        missing = [node for node in nodes if not self._runs(node.name)]
        for node in missing:
            kafka.configure(node, nodes)
        kafka.format_storage(nodes)
        for node in missing:
            process = kafka.start(node, size)
            ports = (node.port, node.controller_port)
            self._remember(Service(node.name, process, ports, str(node.log), notes[node.name], self._host))

    def _nodes(self, size: int, wished: int) -> tuple[list[kafka.Node], dict[str, str]]:
        """Plan the cluster; who was there before gets the same ports, because the others and the clients know them."""
        known = self._known_nodes()
        taken = {port for service in known.values() for port in service.ports}
        nodes, notes = [], {}
        for number in range(1, size + 1):
            name = f"{KAFKA}-{number}"
            ports, notes[name] = self._ports(known.get(name), wished and wished + number - 1, taken)
            taken |= set(ports)
            nodes.append(kafka.Node(number, self._folder / KAFKA / str(number), *ports, self._host))
        return nodes, notes

    def _known_nodes(self) -> dict[str, Service]:
        """Return the nodes of before; none, and none running, when a controller's port is lost, which all have to know."""
        known = {name: service for name, service in self._services.items() if name != VALKEY}
        if all(self._runs(name) or is_free(service.ports[1], self._host) for name, service in known.items()):
            return known
        stop([service.process for service in known.values()], kafka.STOP_SECONDS)
        return {}

    def _ports(self, before: Service | None, wished: int, taken: Collection[int]) -> tuple[tuple[int, int], str]:
        if before is None:
            port, note = _port(wished, taken, self._host)
            return (port, free_port({*taken, port}, self._host)), note
        if self._runs(before.name) or is_free(before.ports[0], self._host):
            return (before.ports[0], before.ports[1]), before.note
        port, note = _port(wished, taken, self._host)
        return (port, before.ports[1]), note

    def _runs(self, name: str) -> bool:
        return name in self._services and alive(self._services[name].process)

    def _remember(self, service: Service) -> None:
        self._services[service.name] = service
        services = tuple(self._services[name] for name in sorted(self._services))
        state.write(self._folder, services, _addresses(services))


def _port(wished: int, taken: Collection[int], host: str) -> tuple[int, str]:
    if wished and wished not in taken and is_free(wished, host):
        return wished, ""
    port = free_port(taken, host)
    return port, f"port {wished} is taken, {port} is used instead" if wished else ""


def _host(services: Iterable[Service], wished: str | None) -> str:
    known = next((service.host for service in services), None)
    if known and wished and known != wished:
        raise Misconfigured(f"the stack of this folder listens at {known}: `raytide stack down` before it does at {wished}")
    return wished or known or HOST


def _cluster_size(folder: Path, wished: int | None) -> int:
    found = len(list((folder / KAFKA).glob("[0-9]*")))
    size = wished or found or 1
    if size not in {1, 3}:
        raise Misconfigured(f"{size} brokers: a local Kafka has 1 broker, or 3 to survive the loss of one")
    if found and found != size:
        raise Misconfigured(
            f"{folder / KAFKA} holds the data of {found} broker(s), so {size} cannot be started on it: "
            "leave out --brokers, use another folder, or run `raytide stack down` and delete that folder with its data",
        )
    return size


def _settle(service: Service) -> None:
    """Give a process that was just killed the time to be gone: for a while it looks like a starting one, or holds its ports."""
    deadline = time.monotonic() + _DYING_SECONDS
    while not _settled(service) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _settled(service: Service) -> bool:
    return _answers(service) if alive(service.process) else all(is_free(port, service.host) for port in service.ports)


def _wait(service: Service) -> None:
    seconds = valkey.START_SECONDS if service.name == VALKEY else kafka.START_SECONDS
    deadline = time.monotonic() + seconds
    while not _answers(service):
        if not alive(service.process):
            raise Unreachable(f"{service.name} ended while it was starting. {_tail(service)}")
        if time.monotonic() > deadline:
            raise Unreachable(
                f"{service.name} does not answer on port {service.ports[0]} after {seconds:.0f} s; "
                f"`raytide stack down` stops it for another try. {_tail(service)}",
            )
        time.sleep(_POLL_SECONDS)


def _tail(service: Service) -> str:
    log = Path(service.log)
    lines: Sequence[str] = []
    for file in (log, log.with_suffix(".out")):
        if file.exists():
            lines = [*lines, *file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]]
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])
