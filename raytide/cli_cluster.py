"""`raytide cluster`: what `ray up` and `ray down` do not do on one's own machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster import ray_workers
from raytide.cli_output import output

app = typer.Typer(name="cluster", help="A cluster that `ray up` made on your own machines.", no_args_is_help=True)

BootstrapFile = Annotated[Path, typer.Argument(help="The file that `ray up` left on the head.")]
ClusterFile = Annotated[Path, typer.Argument(help="The file that was given to `ray up`.")]


@app.command("add-workers")
def add_workers(file: BootstrapFile = Path("~/ray_bootstrap_config.yaml")) -> None:
    """On the head, after `ray up --no-restart`: let Ray's launcher know of workers that were added to the file."""
    from actors import launcher  # noqa: PLC0415 - Ray, which `stop-workers` does not need

    for address in launcher.add_workers(file.expanduser()):
        output.print(f"{address}: known", highlight=False)


@app.command("stop-workers")
def stop_workers(file: ClusterFile = Path("ray_config.yaml")) -> None:
    """End Ray on every worker, over ssh: `ray down` ends it on the head only. Exit 1 when one could not be reached."""
    found = list(ray_workers.stop(ray_workers.read(file)))
    for worker in found:
        output.print(f"{worker.address}: {worker.trouble or 'stopped'}", highlight=False, soft_wrap=True, markup=False)
    if not found:
        output.print(f"{file} names no workers", highlight=False, soft_wrap=True)
    if any(worker.trouble for worker in found):
        raise typer.Exit(1)
