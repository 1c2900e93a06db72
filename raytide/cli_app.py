"""`raytide up` and `down`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster import config as configuration
from raytide.cli_output import Json, errors, output, print_json

Project = Annotated[
    Path,
    typer.Option("--project", "-p", help="Folder with feature_store.yaml, or the file itself."),
]


def up(project: Project = Path(), *, as_json: Json = False) -> None:
    """Start the app on Ray, or what is missing of it; its state lives in .raytide/ of this folder."""
    from cluster import lifecycle  # noqa: PLC0415 - Ray takes a second to import, and only two verbs need it

    running = lifecycle.up(configuration.load(project), configuration.folder_of(project), Path.cwd(), errors.print)
    if as_json:
        print_json({"project": running.project, "gateway": running.gateway, "dashboard": running.dashboard})
        return
    output.print(f"[green]{running.project} is up[/green]", highlight=False)
    output.print(f"  gRPC           {running.gateway}", highlight=False)
    output.print(f"  Ray dashboard  {running.dashboard}", highlight=False)
    output.print("  Prometheus     .raytide/monitoring/prometheus.yml; Grafana beside it (docs/monitoring.md)", highlight=False)
    output.print("  next           raytide status · python -m generator · raytide verify", highlight=False)


def down(seconds: Annotated[float, typer.Option(help="How long to wait for what is in flight.")] = 20.0) -> None:
    """Finish what is in flight and stop the app that was started in this folder."""
    from cluster import lifecycle  # noqa: PLC0415 - as above

    left = lifecycle.down(Path.cwd(), seconds, lambda what: errors.print(f"stopping {what}"))
    for sentence in left:
        output.print(sentence, highlight=False, soft_wrap=True)
    output.print("down" if not left else "down; nothing is lost: the next start goes on from the ledger", highlight=False)
    if left:
        raise typer.Exit(1)
