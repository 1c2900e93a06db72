"""`python -m generator`: the command line."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from cluster.config import STATE_FOLDER
from cluster.errors import Misconfigured, RaytideError, Unreachable
from cluster.stack import manager
from generator.drive import run
from generator.profiles import FEATURES, FILE_KINDS, FILE_WAYS, PLAIN_FILE_KINDS, PROFILES, Profile, Settings
from generator.report import ProgressLine, print_report
from generator.tally import Report

app = typer.Typer(add_completion=False)

_FAILED, _WRONG_USE, _UNREACHABLE = 1, 2, 3
Share = Annotated[float | None, typer.Option(min=0, max=1, help="Share of messages; left out, the profile's.")]


@app.command()
def main(
    *,
    profile: Annotated[str, typer.Option(help=f"Shape of the load: {', '.join(PROFILES)}.")] = "seed",
    bootstrap_servers: Annotated[str | None, typer.Option(help="Kafka. Left out: the stack of this folder.")] = None,
    gateway: Annotated[str | None, typer.Option(help="gRPC, host:port. Left out: the app of this folder.")] = None,
    entities: Annotated[int, typer.Option(min=1, help="How many entities, user_1 and up.")] = 100,
    features: Annotated[str, typer.Option(help="Names of the features that events cycle through.")] = ",".join(FEATURES),
    producers: Annotated[int, typer.Option(min=1, help="Producer threads.")] = 2,
    rate: Annotated[float | None, typer.Option(min=0, help="Messages a second in all; 0 = as fast as it can.")] = None,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds.")] = None,
    count: Annotated[int | None, typer.Option(min=0, help="Messages in all.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, start and count give the same messages.")] = 1,
    start: Annotated[str | None, typer.Option(help="Event time of the first message, RFC 3339. Left out: now.")] = None,
    bad: Share = None,
    late: Share = None,
    duplicate: Share = None,
    out_of_order: Share = None,
    null: Share = None,
    orders: Share = None,
    batch_messages: Annotated[int, typer.Option(min=1, help="A producer batch goes out at this many messages ...")] = 5,
    batch_seconds: Annotated[float, typer.Option(min=0.001, help="... or this old, whichever is first.")] = 2.0,
    uploads: Annotated[bool, typer.Option(help="Upload files over gRPC as well.")] = True,
    uploads_every: Annotated[float, typer.Option(min=0.1, help="Seconds from one upload to the next.")] = 10.0,
    file_rows: Annotated[int, typer.Option("--file-rows", "--upload-rows", min=1, help="Rows in a file.")] = 500,
    file_bytes: Annotated[int | None, typer.Option(min=1, help="About so many bytes in a file, in place of rows.")] = None,
    file_kinds: Annotated[str, typer.Option(help=f"Kinds of files, in turn, or `all`: {', '.join(FILE_KINDS)}.")] = ",".join(
        PLAIN_FILE_KINDS
    ),
    file_ways: Annotated[
        str,
        typer.Option(help="How files are sent, in turn, or `all`: once, twice (taken once), pair (at once), cut (resumed)."),
    ] = "once",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Send events to Kafka and files over gRPC, and report what was acknowledged.

    Exit codes: 0 all acknowledged, 1 not all, 2 wrong use, 3 a needed service does not answer.
    """
    changes = {"rate": rate, "orders": orders, "bad": bad, "late": late, "duplicate": duplicate, "null": null}
    try:
        settings = Settings(
            bootstrap_servers=bootstrap_servers or _stack_servers(),
            gateway=(gateway or _app_gateway()) if uploads else None,
            profile=_profile(profile, {**changes, "out_of_order": out_of_order}),
            entities=entities,
            features=_names(features),
            producers=producers,
            count=count,
            duration_s=duration,
            seed=seed,
            start=_start(start),
            batch_messages=batch_messages,
            batch_seconds=batch_seconds,
            uploads_every_s=uploads_every,
            upload_rows=file_rows,
            file_bytes=file_bytes,
            file_kinds=_chosen(file_kinds, FILE_KINDS),
            file_ways=_chosen(file_ways, FILE_WAYS),
        )
        report = _run(settings)
    except RaytideError as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_exit_code(error)) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        print_report(report, Console())
    if not report.ok:
        raise typer.Exit(_FAILED)


def _run(settings: Settings) -> Report:
    """Run until done or interrupted; a second Ctrl-C does not wait for the flush."""
    stop = threading.Event()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what went wrong is in the report
    with ProgressLine(Console(stderr=True)) as progress:
        return run(settings, stop=stop, progress=progress)


def _profile(name: str, changes: dict[str, float | None]) -> Profile:
    if name not in PROFILES:
        raise Misconfigured(f"unknown profile '{name}': there are {', '.join(PROFILES)}")
    return dataclasses.replace(PROFILES[name], **{key: value for key, value in changes.items() if value is not None})


def _chosen(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    return known if text == "all" else _names(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _start(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Misconfigured("--start must be a time such as 2026-01-31T12:00:00Z") from None


def _stack_servers() -> str:
    if servers := manager.status(Path(STATE_FOLDER)).bootstrap_servers:
        return servers
    raise Unreachable(f"no stack was started in {Path.cwd()}: run `raytide stack up`, or name brokers with --bootstrap-servers")


def _app_gateway() -> str:
    try:
        return str(json.loads((Path(STATE_FOLDER) / "app.json").read_text(encoding="utf-8"))["gateway"])
    except (OSError, ValueError, KeyError):
        raise Unreachable(
            f"no app runs in {Path.cwd()}: run `raytide up`, name its gateway with --gateway, or add --no-uploads",
        ) from None


def _exit_code(error: RaytideError) -> int:
    return _WRONG_USE if isinstance(error, Misconfigured) else _UNREACHABLE if isinstance(error, Unreachable) else _FAILED


if __name__ == "__main__":
    app()
