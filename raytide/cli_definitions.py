"""`raytide entities`, `sources`, `views`, `features` and `services`: what is defined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
import yaml
from rich.markup import escape

from cluster.registry.metadata import OWNED, Definition, DefinitionKind, Filter
from raytide.cli_definitions_from import Project, definitions
from raytide.cli_output import Address, Json, output, print_json, print_table

Name = Annotated[str, typer.Argument(help="The name; a feature's also as view:feature.")]
Tag = Annotated[str, typer.Option("--tag", "-t", help="Only those with this tag.")]
Owner = Annotated[str, typer.Option("--owner", "-o", help="Only those of this owner.")]

PLURALS = {
    DefinitionKind.ENTITY: "entities",
    DefinitionKind.SOURCE: "sources",
    DefinitionKind.VIEW: "views",
    DefinitionKind.FEATURE: "features",
    DefinitionKind.SERVICE: "services",
}
COLUMNS = {
    DefinitionKind.ENTITY: ("name", "join_key", "views", "description"),
    DefinitionKind.SOURCE: ("name", "type", "topic", "views", "description"),
    DefinitionKind.VIEW: ("name", "entity", "source", "features", "online", "owner", "tags"),
    DefinitionKind.FEATURE: ("name", "view", "type", "mode", "online", "owner", "tags"),
    DefinitionKind.SERVICE: ("name", "features", "description"),
}


def group(kind: DefinitionKind) -> typer.Typer:
    """Return the verbs for one kind of definition."""
    app = typer.Typer(help=f"The {PLURALS[kind]} that are defined: in the app, or in a project's folder.", no_args_is_help=True)
    app.command("list", help=f"List the {PLURALS[kind]}, by name.")(_owned_lister(kind) if kind in OWNED else _lister(kind))
    app.command("describe", help=f"Show one {kind} in full.")(_describer(kind))
    return app


def _lister(kind: DefinitionKind) -> Any:
    def list_definitions(address: Address = None, project: Project = None, *, as_json: Json = False) -> None:
        with definitions(address, project) as known:
            _show(kind, known.list_definitions(Filter(kind)), as_json=as_json)

    return list_definitions


def _owned_lister(kind: DefinitionKind) -> Any:
    def list_definitions(
        tag: Tag = "", owner: Owner = "", address: Address = None, project: Project = None, *, as_json: Json = False
    ) -> None:
        with definitions(address, project) as known:
            _show(kind, known.list_definitions(Filter(kind, tag, owner)), as_json=as_json)

    return list_definitions


def _describer(kind: DefinitionKind) -> Any:
    def describe(name: Name, address: Address = None, project: Project = None, *, as_json: Json = False) -> None:
        with definitions(address, project) as known:
            found = _plain(known.describe_definition(kind, name))
        if as_json:
            print_json(found)
        else:
            text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True).rstrip()
            output.print(text, markup=False, highlight=False, soft_wrap=True)

    return describe


def _show(kind: DefinitionKind, found: Sequence[Definition], *, as_json: bool) -> None:
    plain = [_plain(definition) for definition in found]
    if as_json:
        print_json(plain)
    else:
        print_table(PLURALS[kind], COLUMNS[kind], [[_cell(row.get(column)) for column in COLUMNS[kind]] for row in plain])


def _plain(definition: Definition) -> dict[str, Any]:
    """Return a definition as one mapping, without an owner and tags where there cannot be any."""
    owned = {"owner": definition.owner, "tags": list(definition.tags)} if definition.kind in OWNED else {}
    said = {"kind": str(definition.kind), "name": definition.name, "description": definition.description}
    return {**said, **owned, **definition.facts}


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(", ".join(value) if isinstance(value, list) else str(value or ""))
