"""`raytide backfill`: a view's features recomputed for a range of the past."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from cluster.backfills import Asked, BackfillProgress
from cluster.errors import RetryLater
from cluster.ingest.backfills import Backfill, BackfillState
from raytide.cli_output import Address, Json, connect, errors, output, print_json, print_table
from raytide.client import microseconds


class RunIsMeant(TyperGroup):
    """Takes a first word that is no verb for a view, so that `raytide backfill VIEW` runs one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `run` before what is no verb and no question for help."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RunIsMeant,
    help="Recompute a view's features for a range of the past: raytide backfill VIEW --from T --to T.",
    no_args_is_help=True,
)

COLUMNS = ["backfill", "view", "range", "version", "state", "read", "rows", "note"]


@app.command()
def run(
    view: Annotated[str, typer.Argument(help="The feature view.")],
    since: Annotated[str, typer.Option("--from", help="The earliest event time (RFC 3339).")],
    until: Annotated[str, typer.Option("--to", help="The event time before which the range ends (RFC 3339).")],
    address: Address = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Recompute a view under the definitions in force; exit 1 when some of the range cannot be or does not pass.

    Ctrl-C stops it; the same command goes on from there. Done again, it adds nothing.
    """
    asked = Asked(view, microseconds(since, "--from") or 0, microseconds(until, "--to") or 0)
    last: BackfillProgress | None = None
    with connect(address) as client, _bar() as bar:
        task = bar.add_task("reading", total=None, rows=0)
        for last in client.backfill(asked, dry_run=dry_run):
            now = last.backfill
            bar.update(task, completed=now.read, total=now.offsets, rows=_sum(now, "rows"))
    if last is None:
        raise RetryLater("the gateway said nothing about the backfill: do it again, it goes on from where it was")
    if as_json:
        print_json(_progress(last))
    else:
        _print(last)
    if last.left or (not dry_run and (last.backfill.state is not BackfillState.DONE or _sum(last.backfill, "rejected"))):
        raise typer.Exit(1)


@app.command("list")
def list_backfills(
    limit: Annotated[int, typer.Option(help="Show so many at most, newest first.")] = 100,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """List backfills, newest first."""
    with connect(address) as client:
        found = client.list_backfills(limit)
    if as_json:
        print_json([_whole(backfill) for backfill in found])
        return
    print_table("backfills", COLUMNS, [_line(backfill) for backfill in found])


@app.command()
def cancel(
    backfill_id: Annotated[str, typer.Argument(help="As `raytide backfill list` says.")],
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Stop a backfill after the chunk that it is at. What was recomputed stays; the same command goes on from there."""
    with connect(address) as client:
        backfill = client.cancel_backfill(backfill_id)
    if as_json:
        print_json(_whole(backfill))
        return
    output.print(f"{backfill.backfill_id} is {backfill.state}: {backfill.read} of {backfill.offsets} read", highlight=False)


def _print(done: BackfillProgress) -> None:
    now = done.backfill
    if done.dry_run:
        output.print(f"{now.offsets} records would be read, for version {now.registry_version}", highlight=False)
    else:
        output.print(
            f"{now.backfill_id} is {now.state}: {now.read} of {now.offsets} records read, {_sum(now, 'events')} of the range "
            f"recomputed under version {now.registry_version}: {_sum(now, 'rows')} rows, {_sum(now, 'superseded')} superseded",
            highlight=False,
        )
        if rejected := _sum(now, "rejected"):
            output.print(
                f"  {rejected} do not pass any more: what they had is superseded, without a successor", highlight=False
            )
        if waiting := _sum(now, "open"):
            output.print(f"  {waiting} are dead letters: see `raytide dead-letters replay`", highlight=False)
        if now.note:
            output.print(f"  note: {now.note}", highlight=False)
    for left in done.left:
        stay = f"{left.records} of {left.place} stay as they are"
        output.print(f"  {stay}: {left.why}", highlight=False, markup=False, soft_wrap=True)


def _sum(backfill: Backfill, name: str) -> int:
    return sum(getattr(part, name) for part in backfill.parts)


def _progress(progress: BackfillProgress) -> dict[str, Any]:
    left = [asdict(left) for left in progress.left]
    return {**_whole(progress.backfill), "left": left, "dry_run": progress.dry_run}


def _whole(backfill: Backfill) -> dict[str, Any]:
    """Return a backfill as plain data, with its sums, which `asdict` alone would leave out."""
    sums = {name: _sum(backfill, name) for name in ("events", "rows", "superseded", "rejected", "open")}
    return {**asdict(backfill), "offsets": backfill.offsets, "read": backfill.read, **sums}


def _line(backfill: Backfill) -> tuple[Any, ...]:
    span = f"{_time(backfill.since_us)} to {_time(backfill.until_us)}"
    state = backfill.registry_version, str(backfill.state), f"{backfill.read} of {backfill.offsets}"
    return (backfill.backfill_id, escape(backfill.view), span, *state, _sum(backfill, "rows"), escape(backfill.note))


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat()


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
