"""`raytide lineage`: what a feature is made from, and which record a stored value came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import Misconfigured
from cluster.lineage.drawings import Drawing, draw
from cluster.lineage.features import FeatureLineage
from cluster.lineage.values import ValueLineage
from raytide.cli_definitions_from import Project, definitions
from raytide.cli_lineage_answers import of_feature, of_value
from raytide.cli_output import Address, Json, connect, output, print_json

Argument = Annotated[str, typer.Argument(metavar="[VIEW:]FEATURE", help="The feature.")]
Option = Annotated[str, typer.Option("--feature", "-f", help="The feature, if it is not the argument.")]
Entity = Annotated[str | None, typer.Option("--entity", "-e", help="Trace this entity's value instead of the definition.")]
At = Annotated[str | None, typer.Option(help="The value as a read at this time finds it (RFC 3339); otherwise the newest.")]
Drawn = Annotated[Drawing | None, typer.Option("--graph", help="Print the graph in this language, for other tools to draw.")]


def lineage(
    feature: Argument = "",
    named: Option = "",
    entity: Entity = None,
    at: At = None,
    graph: Drawn = None,
    address: Address = None,
    project: Project = None,
    *,
    as_json: Json = False,
) -> None:
    """Show where a feature comes from: raytide lineage order:amount_eur; or a value: --entity user_1 --feature amount_eur.

    A feature's lineage is that of the app, with its versions, or of the definitions in a folder. A value's is in history,
    which only an app can read.
    """
    wanted = _one(feature, named)
    if entity is None:
        answer = of_feature(_feature(wanted, at, address, project))
    else:
        answer = of_value(_value(wanted, entity, at, address, project))
    if graph is not None:
        typer.echo(draw(answer.graph, graph))
    elif as_json:
        print_json(answer.plain)
    else:
        output.print(answer.tree, highlight=False)


def _one(feature: str, named: str) -> str:
    if bool(feature) == bool(named):
        raise Misconfigured("name one feature, as the argument or with --feature: raytide lineage order:amount_eur")
    return feature or named


def _feature(feature: str, at: str | None, address: str | None, project: Path | None) -> FeatureLineage:
    if at is not None:
        raise Misconfigured("--at is for the value of an entity: add --entity, or leave it out")
    with definitions(address, project) as known:
        return known.feature_lineage(feature)


def _value(feature: str, entity: str, at: str | None, address: str | None, project: Path | None) -> ValueLineage:
    if project is not None:
        raise Misconfigured("--project holds definitions, and values are in history: leave it out, the app is asked")
    with connect(address) as client:
        return client.registry.value_lineage(entity, feature, at)
