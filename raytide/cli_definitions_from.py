"""Where definitions are read from: the running app, or a project's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import typer

from cluster import config as configuration
from cluster.lineage.features import FeatureLineage, feature_lineage
from cluster.registry import loader
from cluster.registry.metadata import Definition, DefinitionKind, Filter, described, listed
from raytide.cli_output import connect, errors, started_here

Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        "-p",
        help="Read the definitions in this folder instead of asking the app. Left out, where no app was started: those here.",
    ),
]


class Definitions(Protocol):
    """What can be asked of definitions wherever they are; see `raytide.registry_client`."""

    def list_definitions(self, wanted: Filter) -> list[Definition]:
        """Return definitions by name."""

    def describe_definition(self, kind: DefinitionKind, name: str) -> Definition:
        """Return one definition; raise NotFound with near matches."""

    def feature_lineage(self, feature: str) -> FeatureLineage:
        """Return what a feature is made from and what takes it."""


class ProjectFolder:
    """Meets Definitions without an app. Nothing was applied yet, so features have no versions."""

    def __init__(self, project: Path) -> None:
        settings = configuration.load(project)
        folder = configuration.folder_of(project)
        self._catalog = loader.load(settings.project, folder / settings.definitions)

    def list_definitions(self, wanted: Filter) -> list[Definition]:
        """See Definitions."""
        return listed(self._catalog, wanted)

    def describe_definition(self, kind: DefinitionKind, name: str) -> Definition:
        """See Definitions."""
        return described(self._catalog, kind, name)

    def feature_lineage(self, feature: str) -> FeatureLineage:
        """See Definitions."""
        return feature_lineage(self._catalog, feature)


@contextmanager
def definitions(address: str | None, project: Path | None) -> Iterator[Definitions]:
    """Give the definitions of `project`, or those in force in the app; where no app was started, those of this folder."""
    if project is None and (address or started_here()):
        with connect(address) as client:
            yield client.registry
        return
    if project is None:
        errors.print("no app was started here: these are the definitions in this folder", highlight=False)
    yield ProjectFolder(project or Path())
