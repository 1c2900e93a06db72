"""The demo's definitions say what the README says, and their graph computes it."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from cluster import config
from cluster.ingest.transform import compile_transform
from cluster.records import Events
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.windows.panes import panes_of

DEMO = Path(__file__).parents[2] / "examples" / "demo"
DAY = 86_400_000_000
FRIDAY = 1_767_312_000_000_000  # 2026-01-02


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    settings = config.load(DEMO)
    return loader.from_bytes(loader.to_bytes(loader.load(settings.project, DEMO / settings.definitions)))


def test_six_features_come_finished_and_three_of_them_are_online(catalog: Catalog) -> None:
    names = {f.name for f in catalog.features_of("features")}
    assert names == {"click", "search_count_7d", "user_age", "account_balance", "session_seconds", "risk_score"}
    assert catalog.online_names("features") == ["account_balance", "click", "risk_score"]


def test_clicks_are_counted_online(catalog: Catalog) -> None:
    assert [pane.input for pane in panes_of(catalog)] == ["click"]


def test_the_service_mixes_both_sources(catalog: Catalog) -> None:
    assert {f.source for f in catalog.resolve(["fraud_v1"])} == {"features", "orders"}


def test_topics_are_those_of_the_documents(catalog: Catalog) -> None:
    assert {(s.topic, s.partitions) for s in catalog.stream_sources} == {("raytide.features", 2), ("raytide.orders", 2)}


def test_orders_become_three_features(catalog: Catalog) -> None:
    at = pa.array([FRIDAY, FRIDAY + DAY], pa.timestamp("us"))
    events = Events(
        entity_id=pa.array(["user_1", "user_2"]),
        event_timestamp=at,
        created_at=at,
        position=pa.array([0, 1]),
        columns={
            "order_id": pa.array(["o-1", "o-2"]),
            "amount": pa.array([100.0, 50.0]),
            "currency": pa.array(["USD", "EUR"]),
        },
    )
    rows = compile_transform(catalog, "orders")(events).rows.to_pylist()
    found = {(row["entity_id"], row["feature_name"]): row["value"] for row in rows}
    assert found == pytest.approx(
        {
            ("user_1", "amount_eur"): 92.0,
            ("user_2", "amount_eur"): 50.0,
            ("user_1", "amount_eur_log"): math.log1p(92.0),
            ("user_2", "amount_eur_log"): math.log1p(50.0),
            ("user_1", "is_weekend"): 0.0,
            ("user_2", "is_weekend"): 1.0,
        },
    )
