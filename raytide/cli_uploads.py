"""`raytide uploads`: what became of files, and what can still be done about them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from cluster.errors import RetryLater
from cluster.stores.ports import UploadState
from raytide.answers import UploadView
from raytide.cli_file_bars import bars, going_on, note_of
from raytide.cli_output import INTERRUPTED, Address, Json, connect, errors, output, print_json, print_table
from raytide.client import RaytideClient

app = typer.Typer(help="Files that were uploaded.", no_args_is_help=True)
COLUMNS = ["upload_id", "name", "source", "format", "state", "rows", "rejected", "kept", "error"]

UploadId = Annotated[str, typer.Argument(help="As `raytide uploads list` says.")]


@app.command("list")
def list_uploads(
    limit: Annotated[int, typer.Option(help="Show so many at most, newest first.")] = 100,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """List uploads, newest first; `kept` says whether the gateway still has the file itself."""
    with connect(address) as client:
        found = client.list_uploads(limit)
    if as_json:
        print_json([asdict(upload) for upload in found])
        return
    print_table("uploads", COLUMNS, [_line(upload) for upload in found])


@app.command()
def show(upload_id: UploadId, address: Address = None, *, as_json: Json = False) -> None:
    """Show one upload."""
    with connect(address) as client:
        found = asdict(client.get_upload(upload_id))
    if as_json:
        print_json(found)
    else:
        print_table("upload", ["field", "value"], [(name, escape(str(value))) for name, value in found.items()])


@app.command()
def watch(upload_id: UploadId, address: Address = None, *, as_json: Json = False) -> None:
    """Follow an upload until it ends; exit 1 when that is not DONE."""
    with connect(address) as client:
        _follow(client, upload_id, as_json=as_json)


@app.command()
def cancel(upload_id: UploadId, address: Address = None, *, as_json: Json = False) -> None:
    """Stop an upload of which nothing is in history yet; nothing of it is stored."""
    with connect(address) as client:
        _say(client.cancel_upload(upload_id), as_json=as_json)


@app.command()
def retry(upload_id: UploadId, address: Address = None, *, as_json: Json = False) -> None:
    """Work on a FAILED or CANCELLED upload again from the kept file, and follow it; exit 1 when it ends otherwise than DONE.

    The definitions in force count. When the file is not kept, send it again.
    """
    with connect(address) as client:
        client.retry_upload(upload_id)
        _follow(client, upload_id, as_json=as_json)


def _follow(client: RaytideClient, upload_id: str, *, as_json: bool) -> None:
    last: UploadView | None = None
    try:
        with bars() as shown:
            task = shown.add_task(upload_id, note="")
            for view in client.watch_upload(upload_id):
                last = view.upload
                shown.update(task, description=escape(last.name), total=view.size, completed=view.received, note=note_of(view))
    except KeyboardInterrupt:
        for line in going_on([last] if last else []):
            errors.print(line, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if last is None:
        raise RetryLater(f"the gateway said nothing about {upload_id}: see `raytide uploads show {upload_id}`")
    _say(last, as_json=as_json)
    if last.state is not UploadState.DONE:
        raise typer.Exit(1)


def _say(upload: UploadView, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(upload))
        return
    line = f"{upload.name}: {upload.state}, {upload.rows} rows, {upload.rejected} rejected ({upload.upload_id})"
    output.print(line, markup=False, highlight=False, soft_wrap=True)
    if upload.error:
        errors.print(f"[red]error:[/red] {escape(upload.error)}", highlight=False, soft_wrap=True)


def _line(upload: UploadView) -> tuple[Any, ...]:
    place = (upload.upload_id, escape(upload.name), upload.source, upload.format, str(upload.state))
    return (*place, upload.rows, upload.rejected, "yes" if upload.original_kept else "no", escape(upload.error))
