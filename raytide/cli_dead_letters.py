"""`raytide dead-letters`: rejected records, looked at and replayed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.errors import RetryLater
from raytide.cli_output import Address, Json, connect, errors, output, print_json, print_table, readable, time_text
from raytide.client import microseconds

app = typer.Typer(help="Rejected records: what they are, and replaying them after a fix.", no_args_is_help=True)

Source = Annotated[str, typer.Option("--source", "-s", help="Only of this source: its topic, and files for it.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Only with this reason.")]
Since = Annotated[str | None, typer.Option(help="Only those rejected at this time or later (RFC 3339).")]
Until = Annotated[str | None, typer.Option(help="Only those rejected before this time (RFC 3339).")]
Upload = Annotated[str, typer.Option("--upload", help="Only rows of this upload.")]
COLUMNS = ["place", "source", "reason", "detail", "rejected at", "replayed at"]


@app.command("list")
def list_letters(
    source: Source = "",
    reason: Reason = "",
    since: Since = None,
    until: Until = None,
    upload: Upload = "",
    limit: Annotated[int, typer.Option(help="Show so many at most, newest first.")] = 100,
    address: Address = None,
    *,
    replayed: Annotated[bool | None, typer.Option("--replayed/--open", help="Only those that are, or are not.")] = None,
    as_json: Json = False,
) -> None:
    """List rejected records, newest first: raytide dead-letters list --open --reason bad_time."""
    selection = _selection(source, reason, since, until, upload, replayed=replayed)
    with connect(address) as client:
        letters, total = client.list_dead_letters(selection, limit)
    if as_json:
        print_json({"total": total, "letters": [_short(letter) for letter in letters]})
        return
    print_table("dead letters", COLUMNS, [_line(letter) for letter in letters])
    output.print(f"{len(letters)} of {total}", highlight=False)


@app.command()
def show(
    place: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET or UPLOAD/ROW, as `list` says.")],
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one rejected record in full: raytide dead-letters show raytide.features/0/12."""
    with connect(address) as client:
        letter = client.get_dead_letter(Place.parse(place))
    if as_json:
        print_json(_in_full(letter))
        return
    payload = readable(letter.payload)
    facts = {**_short(letter), "key": _text(letter.key), **{f"header {n}": _text(v) for n, v in letter.headers}}
    print_table("dead letter", ["field", "value"], [(escape(n), escape(str(v))) for n, v in facts.items() if v is not None])
    output.print(f"payload ({payload['payload_encoding']}):" if letter.payload is not None else "no payload", highlight=False)
    output.print(payload["payload"] or "", markup=False, highlight=False, soft_wrap=True)


@app.command()
def replay(
    place: Annotated[str, typer.Argument(help="One record, TOPIC/PARTITION/OFFSET or UPLOAD/ROW; otherwise by filters.")] = "",
    source: Source = "",
    reason: Reason = "",
    since: Since = None,
    until: Until = None,
    upload: Upload = "",
    address: Address = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Send open rejects through the definitions in force; exit 1 when some of them stay open.

    It can be repeated and broken off: nothing is replayed twice.
    """
    selection = _selection(source, reason, since, until, upload, place=Place.parse(place) if place else None)
    last: ReplayProgress | None = None
    with connect(address) as client, _bar() as bar:
        task = bar.add_task("trying" if dry_run else "replaying", total=None, replayed=0, left=0)
        for last in client.replay_dead_letters(selection, dry_run=dry_run):
            bar.update(task, completed=last.seen, total=last.total, replayed=last.replayed, left=last.left_open)
    if last is None:
        raise RetryLater("the gateway said nothing about the replay: do it again, nothing is replayed twice")
    if as_json:
        print_json({**asdict(last), "dry_run": dry_run})
    else:
        _print(last, dry_run=dry_run)
    if last.left_open:
        raise typer.Exit(1)


def _selection(
    source: str,
    reason: str,
    since: str | None,
    until: str | None,
    upload: str,
    *,
    replayed: bool | None = None,
    place: Place | None = None,
) -> Selection:
    times = microseconds(since, "--since"), microseconds(until, "--until")
    return Selection(source, upload, reason, *times, replayed=replayed, place=place)


def _print(done: ReplayProgress, *, dry_run: bool) -> None:
    would = "would be replayed" if dry_run else "replayed"
    output.print(f"{done.replayed} of {done.total} {would} under version {done.registry_version}", highlight=False)
    for reason, count in sorted(done.rejected.items()):
        output.print(f"  {count} still rejected: {reason}", highlight=False)
    for why, count in sorted(done.skipped.items()):
        output.print(f"  {count} cannot be replayed: {why}", highlight=False)
    if done.taken:
        output.print(f"  {done.taken} were replayed by somebody else meanwhile", highlight=False)
    if done.note:
        output.print(f"  note: {done.note}", highlight=False)


def _short(letter: DeadLetter) -> dict[str, Any]:
    return {
        "place": str(letter.place),
        **asdict(letter.place),
        "source": letter.source,
        "reason": letter.reason,
        "detail": letter.detail,
        "registry_version": letter.registry_version,
        "received_at": time_text(letter.received_at),
        "replayed_at": time_text(letter.replayed_at),
        "record_time": time_text(letter.record_time),
        "payload_bytes": letter.payload_bytes,
    }


def _in_full(letter: DeadLetter) -> dict[str, Any]:
    headers = [[name, _text(value)] for name, value in letter.headers]
    return {**_short(letter), "key": _text(letter.key), "headers": headers, **readable(letter.payload)}


def _line(letter: DeadLetter) -> tuple[str | None, ...]:
    times = time_text(letter.received_at), time_text(letter.replayed_at)
    return (escape(str(letter.place)), escape(letter.source), letter.reason, escape(letter.detail), *times)


def _text(value: bytes | None) -> str | None:
    return readable(value)["payload"]


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[replayed]} pass, {task.fields[left]} stay open"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
