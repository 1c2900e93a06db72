"""`raytide partitions reset`: go on where the stored offset no longer exists, and declare what is lost."""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from cluster.errors import Refused
from cluster.resets import ResetAnswer, ResetRequest
from raytide.cli_output import Address, Json, connect, output, print_json
from raytide.cli_verify import describe
from raytide.client import RaytideClient


def reset(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    partition: Annotated[int, typer.Argument(help="The partition's number.", min=0)],
    to: Annotated[str, typer.Option(help="Where to go on: earliest, latest or an offset that Kafka has.")],
    by: Annotated[str, typer.Option(help="Who declares it; shown by verify for ever. Left out: who you are here.")] = "",
    address: Address = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let a HALTED partition go on, and declare what it did not read as lost: partitions reset TOPIC 0 --to earliest."""
    request = ResetRequest(topic, partition, to, by or getpass.getuser())
    with connect(address) as client:
        done = client.reset_partition(request) if yes else _asked(client, request, quiet=as_json)
    if as_json:
        print_json(asdict(done))
        return
    _show(done, "declared lost")
    output.print(f"{topic}[{partition}] was at {done.previous} and goes on at {done.next}", markup=False, highlight=False)


def on_a_terminal() -> bool:
    """Answer whether somebody can be asked."""
    return sys.stdin.isatty()


def _asked(client: RaytideClient, request: ResetRequest, *, quiet: bool) -> ResetAnswer:
    """Show what would be lost, ask, and do exactly that."""
    if not on_a_terminal():
        raise Refused("a reset declares data as lost, and there is no terminal to ask on: add --yes")
    would = client.reset_partition(replace(request, dry_run=True))
    if not quiet:
        _show(would, "would be declared lost, for ever")
    name = f"{request.topic}[{request.partition}]"
    typer.confirm(f"{name} is at {would.previous}. Go on at {would.next}?", abort=True, err=quiet)
    return client.reset_partition(replace(request, target=str(would.next), expected=would.previous))


def _show(answer: ResetAnswer, what: str) -> None:
    for loss in answer.declared:
        output.print(f"{what}: {describe(asdict(loss))}", markup=False, highlight=False, soft_wrap=True)
    if not answer.declared:
        output.print(f"nothing {what}", markup=False, highlight=False)
