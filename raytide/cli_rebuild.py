"""`raytide rebuild-online`: the newest of history into the online store again."""

from __future__ import annotations

from dataclasses import asdict

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cluster.errors import RetryLater
from cluster.status import OnlineReport
from raytide.cli_output import Address, Json, connect, errors, output, print_json


def rebuild_online(address: Address = None, *, as_json: Json = False) -> None:
    """Write the newest of history to Redis again; harmless at any time, newer values stay."""
    last: OnlineReport | None = None
    with connect(address) as client, _bar() as bar:
        task = bar.add_task("rebuilding", total=None, note="")
        for last in client.rebuild_online():
            bar.update(task, completed=last.entities_done, total=last.entities_total or None, note=last.note)
    if last is None:
        raise RetryLater("the gateway said nothing about the rebuild: see `raytide status`")
    if as_json:
        print_json(asdict(last))
    else:
        output.print(f"online store {last.state}: {last.entities_done:,} entities rebuilt from history", highlight=False)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("entities {task.fields[note]}"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )
