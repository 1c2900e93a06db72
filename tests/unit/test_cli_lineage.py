"""What `raytide lineage` and the verbs of definitions say, with and without an app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from cluster.errors import Misconfigured, NotFound, Unreachable
from cluster.lineage.features import FeatureLineage, feature_lineage, stored_versions
from cluster.lineage.values import Asked, ValueLineage, value_lineage
from cluster.registry.metadata import Definition, DefinitionKind, Filter, described, listed
from raytide import cli_definitions_from, cli_lineage
from raytide.cli import app
from tests.lineage_world import CATALOG, DAY, NOW, LineageWorld

DEMO = str(Path(__file__).parents[2] / "examples" / "demo")


class Client:
    """Answers from memory and a DuckDB, as an app would."""

    def __init__(self, world: LineageWorld) -> None:
        self.world = world
        self.asked: list[Any] = []
        self.registry = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def list_definitions(self, wanted: Filter) -> list[Definition]:
        self.asked.append(wanted)
        return listed(CATALOG, wanted)

    def describe_definition(self, kind: DefinitionKind, name: str) -> Definition:
        return described(CATALOG, kind, name)

    def feature_lineage(self, feature: str) -> FeatureLineage:
        return feature_lineage(CATALOG, feature, stored_versions(self.world.reads))

    def value_lineage(self, entity: str, feature: str, at: str | None) -> ValueLineage:
        self.asked.append(at)
        return value_lineage(self.world.reads, CATALOG, Asked(entity, feature), NOW + DAY)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineageWorld]:
    made = LineageWorld(Path(tmp_path_factory.mktemp("lineage")))
    yield made
    made.close()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, world: LineageWorld) -> Client:
    made = Client(world)
    for module in (cli_definitions_from, cli_lineage):
        monkeypatch.setattr(module, "connect", lambda _address: made)
    monkeypatch.setattr(cli_definitions_from, "started_here", lambda: "127.0.0.1:1")
    return made


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.mark.usefixtures("client")
def test_a_features_tree() -> None:
    lines = run("lineage", "order:total_log").splitlines()
    assert lines[:7] == [
        "feature order:total_log (user, online, ttl 7 days)",
        "├── made from",
        "│   └── function order.total_log (pandas)",
        "│       └── feature order:total (user, online, ttl 7 days)",
        "│           └── function order.total (numpy)",
        "│               ├── column orders.amount (float64)",
        "│               │   └── source orders (stream, wide records)",
    ]
    assert "│                   └── source orders (stream, wide records), as above" in lines
    assert "│   └── service model" in lines
    assert lines[-2] == "    ├── exists in 2"
    assert lines[-1].startswith("    └── 2 added it, 2027-01-15T08:00:00.")


@pytest.mark.usefixtures("client")
def test_a_features_lineage_for_programs() -> None:
    found = json.loads(run("lineage", "--feature", "total", "--json"))
    assert (found["view"], found["feature"], found["registry_version"]) == ("order", "total", 2)
    assert found["graph"]["functions"] == ["order.total", "order.total_log"]
    assert ["column:orders.rate", "function:order.total"] in found["graph"]["edges"]
    assert [(v["version"], v["change"]) for v in found["versions"]] == [(1, "added"), (2, "changed")]
    assert found["versions"][1]["what"] == ["column orders.rate is new", "function order.total changed"]


def test_a_values_tree(client: Client) -> None:
    lines = run("lineage", "total", "--entity", "user_1", "--at", "2027-01-01T00:00:00Z").splitlines()
    assert client.asked == ["2027-01-01T00:00:00Z"]
    assert lines[:4] == [
        "order:total of user_1 = 4.5, PRESENT",
        "├── record: offset 4 of shop.orders[0]",
        "├── event time: 2027-01-17T08:00:00+00:00",
        "├── known since: 2027-01-17T08:00:00.000005+00:00",
    ]
    assert lines[6] == "└── made from, in version 2"


@pytest.mark.usefixtures("client")
def test_where_other_values_are() -> None:
    assert "record: row 0 of people.csv (upload up-1)" in run("lineage", "amount", "-e", "user_1")
    assert "record: offset 3 of shop.orders[0], through a replay" in run("lineage", "total", "-e", "user_3")
    assert "order:total of user_2 = null, NULL_VALUE" in run("lineage", "total", "-e", "user_2")


@pytest.mark.usefixtures("client")
def test_a_value_for_programs() -> None:
    found = json.loads(run("lineage", "total", "-e", "user_1", "--json"))
    assert (found["topic"], found["partition"], found["position"], found["kind"]) == ("shop.orders", 0, 4, "stream")
    assert (found["value"], found["status"], found["registry_version"]) == (4.5, "PRESENT", 2)
    assert found["event_timestamp"] == "2027-01-17T08:00:00+00:00"


@pytest.mark.usefixtures("client")
def test_drawings() -> None:
    assert run("lineage", "total", "--graph", "mermaid").startswith("flowchart LR\n")
    assert run("lineage", "total", "-e", "user_1", "--graph", "dot").startswith("digraph lineage {\n")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one feature"),
        (["total", "--feature", "total"], "name one feature"),
        (["total", "--at", "2026-01-01"], "--at is for the value of an entity"),
        (["total", "--entity", "u", "--project", DEMO], "--project holds definitions"),
    ],
)
def test_wrong_use_names_the_way_out(arguments: list[str], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        run("lineage", *arguments)


@pytest.mark.usefixtures("client")
def test_definitions_of_the_app() -> None:
    assert [row["name"] for row in json.loads(run("features", "list", "--tag", "money", "--json"))] == ["total", "total_log"]
    assert "│ order  │ user   │ orders │ total, total_log │ yes    │ shop  │ money, live │" in run("views", "list")
    assert run("entities", "describe", "user").splitlines() == [
        *("kind: entity", "name: user", "description: somebody", "views:", "- order", "- person", "join_key: user_id")
    ]


def test_owner_and_tag_are_passed_on(client: Client) -> None:
    run("views", "list", "-t", "a", "-o", "b")
    run("sources", "list")
    assert client.asked == [Filter(DefinitionKind.VIEW, "a", "b"), Filter(DefinitionKind.SOURCE)]


@pytest.mark.usefixtures("client")
def test_a_named_project_needs_no_app() -> None:
    found = json.loads(run("lineage", "order:amount_eur_log", "-p", DEMO, "--json"))
    assert (found["registry_version"], found["versions"]) == (0, [])
    assert "fraud_v1" in run("services", "list", "--project", DEMO)
    with pytest.raises(NotFound, match="did you mean 'account'"):
        run("views", "describe", "acount", "-p", DEMO)


def test_where_no_app_was_started_the_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(DEMO)
    assert "fraud_v1" in run("services", "list")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misconfigured, match=r"run where feature_store\.yaml is, or name its folder with --project"):
        run("services", "list")
    with pytest.raises(Unreachable, match="no app runs in"):
        run("lineage", "total", "--entity", "u")
