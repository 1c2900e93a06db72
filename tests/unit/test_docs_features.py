"""The page for those who write features: its blocks are definitions, and do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.config import IngestConfig
from cluster.ingest.pipeline import Outcome, SourcePlan
from cluster.records import Records
from cluster.registry import loader
from cluster.registry.catalog import Catalog

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
GOOD = {"user_id": "u", "at": "2026-02-01T12:00:00Z", "amount": 100, "status": "paid"}  # a Sunday


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("project")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "definitions.py").write_text("\n\n".join(blocks), encoding="utf-8")
    (folder / "rates.csv").write_text("currency,rate\nEUR,1\nUSD,0.5\n", encoding="utf-8")
    return loader.from_bytes(loader.to_bytes(loader.load("page", folder / "definitions.py")))


def outcome(catalog: Catalog, *records: dict[str, Any]) -> Outcome:
    values = [json.dumps({**GOOD, **record}).encode() for record in records]
    count = len(values)
    raw = Records(0, count, np.arange(count), values, np.zeros(count, np.int64))
    return SourcePlan.compile(catalog, "orders", IngestConfig()).run(raw, now_us=1_800_000_000_000_000)


def values(found: Outcome) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for row in found.rows.to_pylist():
        rows.setdefault(row["position"], {})[row["feature_name"]] = row["value"]
    return [rows[position] for position in sorted(rows)]


def test_every_definition_of_the_page_is_in_use(catalog: Catalog) -> None:
    names = ["amount", "discount_share", "fee", "fee_share", "is_weekend", "net", "net_eur", "net_log", "payout"]
    assert sorted(catalog.features) == names
    assert [spec.name for spec in catalog.resolve(["fraud"])][-1] == "amount"


def test_the_functions_compute_what_they_say(catalog: Catalog) -> None:
    found = outcome(catalog, {"discount": 10, "currency": "USD"}, {"status": "open"}, {"currency": "CHF"})
    first, second, third = values(found)
    assert first == pytest.approx(
        {"amount": 100, "is_weekend": 1, "discount_share": 0.1, "net": 90, "net_log": np.log1p(90)}
        | {"fee": 2.7, "payout": 87.3, "fee_share": 0.027, "net_eur": 45}
    )
    assert second == {"amount": 100, "is_weekend": 1, "discount_share": None}, "it is not paid"
    assert third["net_eur"] is None, "there is no rate"
    assert (found.events, found.rejects.num_rows) == (3, 0)


def test_a_default_stands_for_a_currency_that_is_left_out(catalog: Catalog) -> None:
    assert values(outcome(catalog, {}))[0]["net_eur"] == 100


def test_records_are_rejected_for_the_reasons_of_the_page(catalog: Catalog) -> None:
    bad: list[dict[str, Any]] = [
        {"amount": None},
        {"amount": "1"},
        {"amount": -1},
        {"status": "lost"},
        {"discount": 200},
        {"discount": 101},
    ]
    found = outcome(catalog, *bad)
    reasons = found.rejects["reason"].to_pylist()
    assert reasons[:4] == ["missing_field", "wrong_type", "out_of_range", "out_of_range"]
    assert "'discount_share' is above the maximum of 1" in found.rejects["detail"].to_pylist()
    assert found.events == 0


def test_the_page_names_every_reason_that_functions_have() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{reason}`" in page for reason in ("transform_failed", "transform_timeout", "out_of_range"))
