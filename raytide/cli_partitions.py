"""`raytide partitions`: the Kafka partitions that are read."""

from __future__ import annotations

import typer

from raytide.cli_partitions_reset import reset

app = typer.Typer(help="The Kafka partitions that are read.", no_args_is_help=True)
app.command()(reset)


@app.callback()
def group() -> None:
    """Keep `reset` a verb while it is the only one."""
