"""`raytide plan`, `apply` and `registry`: what is in force, what would change, and what was in force before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from cluster import config as configuration
from cluster.config import Config
from cluster.registry import loader
from cluster.registry.apply import Applied
from cluster.registry.evolution import incompatible
from cluster.registry.plan import Action, Change, compare
from cluster.registry.versions import Query, description_of, in_force, versions
from cluster.running import Running
from raytide.cli_app import Project
from raytide.cli_output import Json, connect, errors, output, print_json, print_table

app = typer.Typer(help="Versions of the definitions.", no_args_is_help=True)

Comment = Annotated[str, typer.Option("--comment", "-m", help="Why, for `raytide registry versions`.")]
Number = Annotated[int, typer.Argument(min=1, help="A version, as `raytide registry versions` lists them.")]
COLUMNS = ("version", "applied_at", "applied_by", "comment")
_SIGNS = {Action.ADDED: ("+", "green"), Action.CHANGED: ("~", "yellow"), Action.REMOVED: ("-", "red")}


def plan(project: Project = Path(), *, as_json: Json = False) -> None:
    """Show what `apply` would change and what depends on it; exit 1 if it would be refused."""
    config = configuration.load(project)
    catalog = loader.load(config.project, configuration.folder_of(project) / config.definitions)
    with reading(config) as query:
        before, after = in_force(query), catalog.describe()
    changes, refused = compare(before, after), list(incompatible(before, after))
    if as_json:
        print_json({"changes": [asdict(change) for change in changes], "refused": refused})
    else:
        _show(changes)
        for problem in refused:
            errors.print(f"[red]refused:[/red] {problem}", highlight=False, soft_wrap=True)
    if refused:
        raise typer.Exit(1)


def apply(project: Project = Path(), comment: Comment = "", *, as_json: Json = False) -> None:
    """Put the definitions in force: running partitions switch between two batches, without a gap or a repeat."""
    from cluster import applying  # noqa: PLC0415 - Ray takes a second to import

    _report(
        *applying.apply(configuration.load(project), configuration.folder_of(project), Path.cwd(), comment), as_json=as_json
    )


@app.command("versions")
def list_versions(project: Project = Path(), *, as_json: Json = False) -> None:
    """List every version that was in force, the newest last."""
    with reading(configuration.load(project)) as query:
        found = [asdict(version) for version in versions(query)]
    if as_json:
        print_json(found)
    else:
        print_table("registry", COLUMNS, [[row[column] for column in COLUMNS] for row in found])


@app.command()
def show(version: Number, project: Project = Path()) -> None:
    """Print a version's definitions as JSON."""
    with reading(configuration.load(project)) as query:
        print_json(description_of(query, version))


@app.command()
def diff(version: Number, other: Number, project: Project = Path(), *, as_json: Json = False) -> None:
    """Show what changed from one version to another."""
    with reading(configuration.load(project)) as query:
        changes = compare(description_of(query, version), description_of(query, other))
    if as_json:
        print_json([asdict(change) for change in changes])
    else:
        _show(changes)


@app.command()
def rollback(version: Number, project: Project = Path(), comment: Comment = "", *, as_json: Json = False) -> None:
    """Put a former version in force again, as a new one. The files of the project stay as they are."""
    from cluster import applying  # noqa: PLC0415 - as above

    _report(*applying.rollback(configuration.load(project), Path.cwd(), version, comment), as_json=as_json)


@contextmanager
def reading(config: Config) -> Iterator[Query]:
    """Give a way to query the registry: the gateway of the app that runs in this folder, else its file."""
    from cluster import applying  # noqa: PLC0415 - as above

    running = Running.read(Path.cwd())
    if running is not None and running.is_alive:
        with connect(running.gateway) as client:
            yield client.sql
        return
    if not (Path.cwd() / config.offline_store.path).exists():  # opening would make it
        yield lambda _sql: pa.table({})
        return
    with applying.opened(config, Path.cwd()) as registry:
        yield registry.query


def _report(applied: Applied, behind: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"version": applied.version, "changes": [asdict(c) for c in applied.changes], "behind": behind})
        return
    _show(applied.changes)
    output.print(f"version {applied.version} is in force", highlight=False)
    for sentence in behind:
        output.print(sentence, highlight=False, soft_wrap=True)


def _show(changes: Sequence[Change], show: Callable[..., None] = output.print) -> None:
    for change in changes:
        sign, colour = _SIGNS[change.action]
        show(f"[{colour}]{sign} {change.kind} {change.name}[/{colour}]", highlight=False)
        for detail in change.details:
            show(f"    {detail}", highlight=False, markup=False, soft_wrap=True)
        if change.dependents:
            show(f"    affects {', '.join(change.dependents)}", highlight=False, markup=False, soft_wrap=True)
    if not changes:
        show("no changes", highlight=False)
