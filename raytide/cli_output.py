"""What all verbs share: where the app is, and how answers are printed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.config import FILE_NAME, STATE_FOLDER, client_section
from cluster.errors import BadFile, RaytideError, RetryLater, Unreachable
from raytide.client import RaytideClient

output = Console()
errors = Console(stderr=True)
#: The exit code after Ctrl-C, as shells have it.
INTERRUPTED = 130
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Address = Annotated[
    str | None,
    typer.Option(help="The gateway, host:port. Left out: the app started in this folder.", envvar="RAYTIDE_ADDRESS"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def connect(address: str | None) -> RaytideClient:
    """Return a client for `address`, or for the app that `.raytide/app.json` of this folder knows.

    Certificates and tokens are those of the section `client` of this folder's feature_store.yaml, else of the one that the
    app was started with, and of the environment.
    """
    started = _started()
    here = Path(FILE_NAME)
    project = here if here.exists() or not started else Path(started["config"])
    return RaytideClient(address or _known_address(), access=client_section(project))


def print_json(value: Any) -> None:
    """Print a value as JSON that any program reads: dates and bytes as text, NaN and infinities as null."""
    typer.echo(json.dumps(_plain(value), indent=2, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None  # JSON has no such numbers
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under headings."""
    output.print(table(title, columns, rows))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return rows under headings, numbers to the right."""
    made = Table(title=title, title_justify="left", header_style="bold")
    content = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(content) and all(isinstance(row[index], int | float | None) for row in content)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric or index == 0)
    for row in content:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def exit_code(error: RaytideError) -> int:
    """Return the exit code that an error of ours means."""
    if isinstance(error, RetryLater):
        return 3
    return 1 if isinstance(error, BadFile) else 2


def started_here() -> str:
    """Return the address of the app that was started in this folder; empty when there is none."""
    return _started().get("gateway", "")


def _started() -> dict[str, str]:
    try:
        remembered: dict[str, str] = json.loads((Path(STATE_FOLDER) / "app.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return remembered


def time_text(micros: int | None) -> str | None:
    """Return a time in µs as text, in UTC."""
    return None if micros is None else (EPOCH + timedelta(microseconds=micros)).isoformat()


def readable(payload: bytes | None) -> dict[str, str | None]:
    """Return bytes as text if a terminal can show it, otherwise as hexadecimal digits."""
    if payload is None:
        return {"payload": None, "payload_encoding": None}
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\n\t" for character in text):
        return {"payload": text, "payload_encoding": "text"}
    return {"payload": payload.hex(" ", -4), "payload_encoding": "hex"}


def _known_address() -> str:
    if not (address := started_here()):
        raise Unreachable(f"no app runs in {os.getcwd()}: start one with `raytide up`, or name its gateway with --address")  # noqa: PTH109 - for the message
    return address
