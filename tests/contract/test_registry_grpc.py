"""RegistryService over a real socket, with the definitions in memory and a history in a real DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from featurestore.v1 import registry_pb2, registry_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cluster.config import GatewayConfig
from cluster.errors import NotFound, Refused
from cluster.gateway.backend import Backend
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import every_service
from cluster.lineage.features import feature_lineage, stored_versions
from cluster.lineage.values import Asked, value_lineage
from cluster.registry.catalog import Catalog
from cluster.registry.metadata import DefinitionKind, Filter, described, listed
from cluster.stores.duckdb_reads import DuckReads
from raytide.client import RaytideClient
from tests.lineage_world import CATALOG, DAY, NOW, LineageWorld


class Twin:
    """The part of Backend that this service asks."""

    backfills = None

    def __init__(self, offline: DuckReads) -> None:
        self.offline = offline

    def catalog(self) -> Catalog:
        return CATALOG


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineageWorld]:
    made = LineageWorld(Path(tmp_path_factory.mktemp("registry")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(world: LineageWorld) -> Iterator[str]:
    server = GatewayServer(GatewayConfig(port=0), every_service(cast("Backend", Twin(world.reads))))
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.stop(1)


@pytest.fixture
def client(address: str) -> Iterator[RaytideClient]:
    with RaytideClient(address, timeout_s=20) as connected:
        yield connected


@pytest.mark.parametrize("kind", list(DefinitionKind))
def test_definitions_cross_the_edge_as_they_are(client: RaytideClient, kind: DefinitionKind) -> None:
    found = client.registry.list_definitions(Filter(kind))
    assert found == listed(CATALOG, Filter(kind))
    assert client.registry.describe_definition(kind, found[0].name) == described(CATALOG, kind, found[0].name)


def test_filters_are_passed_on(client: RaytideClient) -> None:
    views = client.registry.list_definitions(Filter(DefinitionKind.VIEW, "money", "shop"))
    assert [view.name for view in views] == ["order"]
    with pytest.raises(Refused, match="tag: a definition of kind 'entity' has none"):
        client.registry.list_definitions(Filter(DefinitionKind.ENTITY, tag="money"))


@pytest.mark.parametrize("feature", ["order:total", "total_log", "person:amount"])
def test_a_features_lineage_crosses_the_edge_as_it_is(client: RaytideClient, world: LineageWorld, feature: str) -> None:
    assert client.registry.feature_lineage(feature) == feature_lineage(CATALOG, feature, stored_versions(world.reads))


@pytest.mark.parametrize(
    ("entity", "feature", "at_us"),
    [
        ("user_1", "total", NOW + 3 * DAY),
        ("user_1", "person:amount", NOW),
        ("user_2", "total", NOW + DAY),
        ("user_3", "total", NOW + 99 * DAY),
    ],
    ids=["stream", "file", "null", "replay-expired"],
)
def test_a_values_lineage_crosses_the_edge_as_it_is(
    client: RaytideClient, world: LineageWorld, entity: str, feature: str, at_us: int
) -> None:
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    asked = Asked(entity, feature, at_us)
    assert client.registry.value_lineage(entity, feature, at) == value_lineage(world.reads, CATALOG, asked, 0)


def test_without_a_time_it_is_the_newest(client: RaytideClient) -> None:
    assert client.registry.value_lineage("user_1", "total").value == 4.5


def test_what_is_not_there_is_not_found_with_near_names(client: RaytideClient) -> None:
    with pytest.raises(NotFound, match="name: no view is called 'ordr'; did you mean 'order'"):
        client.registry.describe_definition(DefinitionKind.VIEW, "ordr")
    with pytest.raises(NotFound, match=r"feature: .*did you mean 'total'"):
        client.registry.feature_lineage("totl")
    with pytest.raises(NotFound, match="history has no value"):
        client.registry.value_lineage("nobody", "total")
    with pytest.raises(Refused, match="'model' is a service: name one feature"):
        client.registry.feature_lineage("model")


@pytest.mark.parametrize(
    ("method", "request_", "code", "field"),
    [
        ("ListDefinitions", registry_pb2.ListDefinitionsRequest(), "INVALID_ARGUMENT", "kind"),
        (
            "ListDefinitions",
            registry_pb2.ListDefinitionsRequest(kind="DEFINITION_KIND_ENTITY", owner="me"),
            "INVALID_ARGUMENT",
            "owner",
        ),
        (
            "DescribeDefinition",
            registry_pb2.DescribeDefinitionRequest(kind=cast("Any", 99), name="x"),
            "INVALID_ARGUMENT",
            "kind",
        ),
        (
            "DescribeDefinition",
            registry_pb2.DescribeDefinitionRequest(kind="DEFINITION_KIND_SOURCE", name="x"),
            "NOT_FOUND",
            "name",
        ),
        ("GetFeatureLineage", registry_pb2.GetFeatureLineageRequest(feature="x"), "NOT_FOUND", "feature"),
        ("GetValueLineage", registry_pb2.GetValueLineageRequest(feature="order"), "INVALID_ARGUMENT", "feature"),
        (
            "GetValueLineage",
            registry_pb2.GetValueLineageRequest(feature="total", entity_id="x"),
            "NOT_FOUND",
            "entity_id",
        ),
    ],
)
def test_wrong_requests_name_the_argument(address: str, method: str, request_: Any, code: str, field: str) -> None:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        getattr(registry_pb2_grpc.RegistryServiceStub(channel), method)(request_, timeout=20)
    error: Any = caught.value
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    assert (error.code().name, bad.field_violations[0].field) == (code, field)
