"""`raytide verify`: the proof, or the first offenders."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cluster.status import Scope
from raytide.cli_output import Address, Json, connect, output, print_json, print_table
from raytide.client import RaytideClient

#: Seconds between two looks of --watch.
EVERY_S = 10.0


def verify(
    wait: Annotated[float, typer.Option(help="Seconds to wait for the streams to catch up before checking.")] = 0.0,
    address: Address = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Compare the windows of all entities, not of a sample.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Compare some windows every few seconds until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = EVERY_S,
    as_json: Json = False,
) -> None:
    """Prove that nothing was lost, doubled or stale; exit 1 with the first offenders otherwise."""
    with connect(address) as client:
        if watch:
            watched(client, every, as_json=as_json)
        report = client.verify(wait_s=wait, scope=Scope.FULL if full else Scope.SAMPLE)
    if as_json:
        print_json(report)
    else:
        show(report)
    if not report["ok"]:
        raise typer.Exit(1)


def watched(client: RaytideClient, every_s: float, *, as_json: bool) -> None:
    """Compare windows again and again; exit 1 once interrupted if any were ever wrong, else 0."""
    offenders = 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell takes away from what it starts in the background
    try:
        while True:
            report = client.verify(scope=Scope.WINDOWS)
            offenders += sum(check["offenders"] for check in report["checks"])
            print_json(report) if as_json else _show_line(report)
            time.sleep(every_s)  # so that watching costs little
    except KeyboardInterrupt:
        raise typer.Exit(1 if offenders else 0) from None


def _show_line(report: Any) -> None:
    now = datetime.now(UTC).strftime("%H:%M:%S")
    if not report["checks"]:
        output.print(f"{now} no view has windows that are kept online", highlight=False)
    for check in report["checks"]:
        colour = "red" if check["offenders"] else "green"
        found = f"{check['checked']:,} compared, {check['offenders']:,} differ"
        output.print(f"{now} [{colour}]{found}[/]: {check['name']}", highlight=False)
        for example in check["examples"]:
            output.print(f"  {example}", markup=False, highlight=False)


def show(report: Any) -> None:
    """Print a verify report."""
    print_table(
        "verify",
        ["check", "checked", "offenders"],
        [(check["name"], check["checked"], check["offenders"]) for check in report["checks"]],
    )
    print_table(
        "ledger",
        ["topic", "partition", "first", "next", "Kafka's end", "behind"],
        [(p["topic"], p["partition"], p["first"], p["next"], p["end"], p["behind"]) for p in report["partitions"]],
    )
    for loss in report["declared"]:
        output.print(f"declared lost: {describe(loss)}", markup=False, highlight=False, soft_wrap=True)
    for check in report["checks"]:
        for example in check["examples"]:
            output.print(f"  [red]{check['name']}[/red]: {example}", highlight=False)
    output.print(f"[green]{verdict(report)}[/green]" if report["ok"] else "[red]something is off[/red]")


def verdict(report: Any) -> str:
    """Return the sentence for a report that is ok."""
    if not report["declared"]:
        return "nothing lost, doubled or stale"
    known = sum(loss["offsets"] or 0 for loss in report["declared"])
    parts = [f"the {known} offsets that were declared"] if known else []
    if any(loss["offsets"] is None for loss in report["declared"]):
        parts.append("what Kafka lost before it was read, which was declared")
    return f"nothing lost but {' and '.join(parts)}; nothing doubled or stale"


def describe(loss: Any) -> str:
    """Return a declared loss as a sentence."""
    life = f" (incarnation {loss['incarnation']})" if loss["incarnation"] else ""
    when = datetime.fromtimestamp(loss["declared_at_us"] / 1_000_000, UTC).isoformat(timespec="seconds")
    known = loss["next"] is not None
    span = (
        f"[{loss['first']}, {loss['next']}), {loss['offsets']} offsets"
        if known
        else f"from {loss['first']} on, nobody knows how many"
    )
    return f"{loss['topic']}[{loss['partition']}]{life} {span}, by {loss['declared_by']} at {when}: {loss['reason']}"
