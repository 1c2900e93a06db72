"""`raytide status`: one page, the worst first; with --watch again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.live import Live

from cluster.errors import RetryLater
from cluster.status import StatusReport
from raytide.cli_output import Address, Json, connect, output, print_json
from raytide.cli_status_page import lines, page
from raytide.client import RaytideClient

#: Between two looks, on a terminal and into a file.
LOOK_SECONDS, LINE_SECONDS = 1.0, 5.0


def status(
    address: Address = None,
    *,
    as_json: Json = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again every second until Ctrl-C; without a terminal a few plain lines every five."),
    ] = False,
) -> None:
    """Show what needs a look, then partitions, workers, uploads and addresses of the running app."""
    with connect(address) as client:
        if as_json:
            print_json(_plain(client.status()))
        elif watch:
            _watch(client)
        else:
            output.print(page(client.status()))


def _plain(report: StatusReport) -> dict[str, Any]:
    """Return the report as plain data; `lag` is computed, so `asdict` alone would leave it out."""
    partitions = [{**asdict(partition), "lag": partition.lag} for partition in report.partitions]
    return {**asdict(report), "partitions": partitions}


def _watch(client: RaytideClient) -> None:
    if not output.is_terminal:
        for before, now in _looks(client, LINE_SECONDS):
            for line in lines(now, before):
                typer.echo(line)
        return
    with Live(console=output, auto_refresh=False) as live:
        for before, now in _looks(client, LOOK_SECONDS):
            live.update(page(now, before, most=_room()), refresh=True)


def _looks(client: RaytideClient, seconds: float) -> Iterator[tuple[StatusReport | None, StatusReport]]:
    """Yield each report with the one before it. An app that is not there is an error; one that goes away is waited for."""
    before, now = None, client.status()
    while True:
        yield before, now
        before, now = now, _next(client, seconds)


def _next(client: RaytideClient, seconds: float) -> StatusReport:
    while True:
        time.sleep(seconds)  # the pace of the display
        try:
            return client.status()
        except RetryLater as error:
            output.print(f"no answer: {error}", highlight=False, markup=False, soft_wrap=True)


def _room() -> int:
    """Return how many partitions a page on this terminal has room for."""
    return max(4, output.height - 24)
