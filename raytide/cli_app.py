"""`raytide up`, `down` and `status`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live

from cluster import config as configuration
from cluster.status import OnlineReport, OnlineState, SpoolReport, StatusReport
from raytide.cli_output import Address, Json, connect, errors, output, print_json, table

Project = Annotated[
    Path,
    typer.Option("--project", "-p", help="Folder with feature_store.yaml, or the file itself."),
]

SHOWN_UPLOADS = 5


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


def status(
    address: Address = None,
    *,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
) -> None:
    """Show partitions, workers, uploads and addresses of the running app."""
    with connect(address) as client:
        if as_json:
            print_json(_with_lag(client.status()))
        elif watch:
            with Live(_page(client.status()), console=output, auto_refresh=False) as live:
                while True:
                    live.update(_page(client.status()), refresh=True)
                    time.sleep(1)  # the pace of the display
        else:
            output.print(_page(client.status()))


def _with_lag(report: StatusReport) -> dict[str, Any]:
    """Return the report as plain data; `lag` is computed, so `asdict` alone would leave it out."""
    partitions = [{**asdict(partition), "lag": partition.lag} for partition in report.partitions]
    return {**asdict(report), "partitions": partitions}


def _page(report: StatusReport) -> Group:
    where, limiter, writer = report.endpoints, report.limiter, report.writer
    return Group(
        f"{report.project}, registry version {report.registry_version}",
        f"  Kafka {where.bootstrap_servers} · Redis {where.redis_url} · gRPC {where.gateway} · dashboard {where.dashboard}",
        f"  writer {writer.state}: {writer.rows} rows in {writer.commits} commits, {writer.queued_batches} batches wait, "
        f"file {writer.file_bytes / 2**20:.1f} MiB {writer.note}",
        f"  online store {online_line(report.online)}",
        f"  spool {spool_line(report.spool)}",
        f"  workers {len(limiter.held)} of {limiter.slots} at work, {len(limiter.waiting)} wait, "
        f"at most {limiter.most_at_once} so far",
        table(
            "gateway processes",
            ["process", "state", "address", "note"],
            [(g.name, g.state, g.address, g.note) for g in report.gateways],
        ),
        table(
            "partitions",
            ["partition", "state", "next", "behind", "events", "rejected", "note"],
            [
                (f"{p.topic}[{p.partition}]", p.state, p.next_offset, p.lag, p.events, p.rejected, p.note)
                for p in report.partitions
            ],
        ),
        table(
            "uploads",
            ["upload", "source", "state", "rows", "rejected", "error"],
            [(u.name, u.source, str(u.state), u.rows, u.rejected, u.error) for u in report.uploads[:SHOWN_UPLOADS]],
        ),
    )


def spool_line(spool: SpoolReport) -> str:
    """Return how much is kept of uploaded files as a few words."""
    kept = f"{spool.files} files and {spool.receiving} beginnings, {spool.bytes / 2**20:.1f} MiB"
    return f"{kept}; at most {spool.budget_bytes / 2**30:.1f} GiB of originals"


def online_line(online: OnlineReport) -> str:
    """Return the state of the online store as a few words."""
    if online.state is OnlineState.REBUILDING:
        done = f"REBUILDING: {online.entities_done:,} of {online.entities_total:,} entities"
        return f"{done}, {online.note}" if online.note else done
    return f"{online.state}: {online.note}" if online.note else str(online.state)
