"""`raytide verify`: the proof, or the first offenders."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raytide.cli_output import Address, Json, connect, output, print_json, print_table


def verify(
    wait: Annotated[float, typer.Option(help="Seconds to wait for the streams to catch up before checking.")] = 0.0,
    address: Address = None,
    *,
    as_json: Json = False,
) -> None:
    """Prove that nothing was lost, doubled or stale; exit 1 with the first offenders otherwise."""
    with connect(address) as client:
        report = client.verify(wait_s=wait)
    if as_json:
        print_json(report)
    else:
        show(report)
    if not report["ok"]:
        raise typer.Exit(1)


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
    for check in report["checks"]:
        for example in check["examples"]:
            output.print(f"  [red]{check['name']}[/red]: {example}", highlight=False)
    output.print("[green]nothing lost, doubled or stale[/green]" if report["ok"] else "[red]something is off[/red]")
