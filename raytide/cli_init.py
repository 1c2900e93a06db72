"""`raytide init`: a small project to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import Misconfigured, Refused
from raytide.cli_output import output

FILES = ("feature_store.yaml", "definitions.py", "orders.csv")
NEXT = (
    "raytide up",
    "raytide ingest orders.csv --source orders",
    "raytide get-online user_1 user_2 --service shop_v1",
    "raytide lineage order:amount_eur_log",
    "raytide down",
)


def init(folder: Annotated[Path, typer.Argument(help="Where to write it; made if it is not there.")] = Path()) -> None:
    """Write a small project to start from, with a file of sample data: raytide init shop. Nothing is overwritten."""
    if there := [name for name in FILES if (folder / name).exists()]:
        raise Refused(f"{folder.resolve()} has {', '.join(there)} already, and nothing is overwritten: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            _write(folder / name)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be written ({error.strerror}): name a folder that can") from error
    steps = NEXT if folder.resolve() == Path.cwd() else (f"cd {folder}", *NEXT)
    output.print("written: " + ", ".join(FILES), markup=False, highlight=False)
    output.print("\n".join(["next:", *(f"  {step}" for step in steps)]), markup=False, highlight=False, soft_wrap=True)


def _write(path: Path) -> None:
    content = (files("raytide") / "template" / path.name).read_bytes()
    with path.open("xb") as file:
        file.write(content)
