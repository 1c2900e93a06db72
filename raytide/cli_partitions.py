"""`raytide partitions`: how each Kafka partition is, and letting a halted one go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cluster.status import PartitionReport
from raytide.cli_output import Address, Json, connect, output, print_json, print_table
from raytide.cli_partitions_reset import reset

app = typer.Typer(name="partitions", help="Kafka partitions, and those that need a person.", no_args_is_help=True)
app.command()(reset)

Topic = Annotated[str, typer.Argument(help="The topic.")]
Number = Annotated[int, typer.Argument(help="The partition's number.", min=0)]
COLUMNS = ("topic", "partition", "state", "next_offset", "lag", "note")


@app.command("list")
def list_partitions(address: Address = None, *, as_json: Json = False) -> None:
    """List every partition and what it is doing."""
    with connect(address) as client:
        found = client.status().partitions
    if as_json:
        print_json([_plain(partition) for partition in found])
    else:
        _show(found)


@app.command()
def resume(
    topic: Topic,
    partition: Number,
    allow_rejects: Annotated[int, typer.Option(min=0, help="So many rejects go to quarantine without being counted.")] = 0,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Let a HALTED partition go on from where its ledger ends, once the cause is gone."""
    with connect(address) as client:
        found = client.resume_partition(topic, partition, allow_rejects)
    if as_json:
        print_json(_plain(found))
    else:
        output.print(f"{topic}[{partition}] goes on; `raytide partitions list` shows how", highlight=False)


def _plain(partition: PartitionReport) -> dict[str, object]:
    return {**asdict(partition), "lag": partition.lag}


def _show(partitions: Sequence[PartitionReport]) -> None:
    print_table("partitions", COLUMNS, [[getattr(p, column) for column in COLUMNS] for p in partitions])
