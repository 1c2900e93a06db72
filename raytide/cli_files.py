"""`raytide ingest` and `raytide uploads`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from raytide.cli_output import Address, Json, connect, errors, output, print_json, print_table

uploads = typer.Typer(help="Files that were uploaded.", no_args_is_help=True)
COLUMNS = ["upload_id", "name", "source", "format", "state", "rows", "rejected", "error"]


def ingest(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON Lines.", exists=True, dir_okay=False, readable=True)],
    source: Annotated[str, typer.Option("--source", "-s", help="The source whose records the file holds.")],
    file_format: Annotated[str | None, typer.Option("--format", help="csv, parquet or jsonl; otherwise by suffix.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key; otherwise made from content, source and name.")] = None,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Upload a file through the same path as the stream: raytide ingest history.parquet --source features."""
    with connect(address) as client, _bar() as bar:
        task = bar.add_task(file.name, total=file.stat().st_size, state="sending", rejected=0)

        def show(view: Any) -> None:
            bar.update(task, completed=view.received, state=view.upload.state, rejected=view.upload.rejected)

        done = client.upload_file(file, source=source, format=file_format, idempotency_key=key, progress=show)
    if as_json:
        print_json(asdict(done))
    else:
        output.print(
            f"{file.name}: {done.state}, {done.rows} rows, {done.rejected} rejected ({done.upload_id})", highlight=False
        )
    if done.state != "DONE":
        errors.print(f"[red]error:[/red] {done.error}", highlight=False)
        raise typer.Exit(1)


@uploads.command("list")
def list_uploads(address: Address = None, *, as_json: Json = False) -> None:
    """List uploads, newest first."""
    with connect(address) as client:
        found = [asdict(upload) for upload in client.list_uploads()]
    if as_json:
        print_json(found)
    else:
        print_table("uploads", COLUMNS, [[row[c] for c in COLUMNS] for row in found])


@uploads.command()
def show(upload_id: str, address: Address = None, *, as_json: Json = False) -> None:
    """Show one upload."""
    with connect(address) as client:
        found = asdict(client.get_upload(upload_id))
    if as_json:
        print_json(found)
    else:
        print_table("upload", ["field", "value"], found.items())


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[rejected]} rejected"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
