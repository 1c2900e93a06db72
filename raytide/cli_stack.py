"""`raytide stack`: a local Kafka and Valkey for the working folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cluster.config import FILE_NAME, STATE_FOLDER, load
from cluster.stack import manager
from cluster.stack.manager import StackStatus

app = typer.Typer(
    name="stack", help="A local Kafka and Valkey, in the state folder of the working folder.", no_args_is_help=True
)

_NOT_RUNNING = 3
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Brokers = Annotated[int | None, typer.Option(help="1 or 3. Left out: what the folder's data was made for, else 1.")]
KafkaPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of the first broker; 0 takes a free one.")]
RedisPort = Annotated[int, typer.Option(min=0, max=65535, help="Port of Valkey; 0 takes a free one.")]
Host = Annotated[
    str | None,
    typer.Option(
        help="Address of this machine to listen at, for the nodes of a cluster: without a password, so a private one."
    ),
]


@app.command()
def up(
    *,
    brokers: Brokers = None,
    kafka_port: KafkaPort = 9092,
    redis_port: RedisPort = 6380,
    host: Host = None,
    as_json: AsJson = False,
) -> None:
    """Start what is not there, and wait until it answers. A port that is taken is replaced by a free one."""
    wanted, ports = _local_services(), {"kafka_port": kafka_port, "redis_port": redis_port}
    with _busy("starting", quiet=as_json):
        status = manager.up(Path(STATE_FOLDER), brokers=brokers, services=wanted, host=host, **ports)
    _show(status, as_json=as_json)
    if not as_json and wanted != manager.BOTH:
        Console().print(f"Not started, because {FILE_NAME} or the environment names one: {', '.join(manager.BOTH - wanted)}")


@app.command()
def down() -> None:
    """Stop what `up` started here, and nothing else. Data and logs stay."""
    with _busy("stopping", quiet=False):
        stopped = manager.down(Path(STATE_FOLDER))
    names = ", ".join(service.name for service in stopped.services)
    Console().print(f"Stopped: {names}" if names else "Nothing was running here.")


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show what was started here; exit 3 when it does not all run and answer."""
    found = manager.status(Path(STATE_FOLDER))
    _show(found, as_json=as_json)
    if not found.running:
        raise typer.Exit(_NOT_RUNNING)


def _local_services() -> frozenset[str]:
    """Return what the configuration leaves to the local stack; all of it outside a feature repository."""
    if not Path(FILE_NAME).exists():
        return manager.BOTH
    config = load(Path())
    named = {manager.KAFKA: config.kafka.bootstrap_servers, manager.VALKEY: config.online_store.connection_string}
    return frozenset(service for service, address in named.items() if address is None)


@contextmanager
def _busy(what: str, *, quiet: bool) -> Iterator[None]:
    console = Console(stderr=True, quiet=quiet or not Console(stderr=True).is_terminal)
    with console.status(what):
        yield


def _show(found: StackStatus, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**dataclasses.asdict(found), "running": found.running}, indent=2))
    elif found.services:
        _print(found)
    else:
        Console().print("Nothing was started here: `raytide stack up` does.")


def _print(found: StackStatus) -> None:
    console = Console()
    table = Table("service", "pid", "port", "state", "note", box=None, header_style="bold")
    for service in found.services:
        state = "[green]running[/]" if service.running else "[red]down[/]"
        table.add_row(service.name, str(service.pid), str(service.ports[0]), state, service.note)
    console.print(table)
    console.print(f"Kafka  {found.bootstrap_servers or '-'}\nRedis  {found.redis_url or '-'}", highlight=False)
    console.print(f"Logs   {Path(found.services[0].log).parent}", highlight=False, soft_wrap=True, markup=False)
