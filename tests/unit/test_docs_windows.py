"""The page about windows: its block is a definition, and its numbers are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.registry import loader
from cluster.registry.aggregation import Aggregation, Function
from cluster.registry.catalog import Catalog
from cluster.verify import SAMPLE
from cluster.windows.partials import Layout
from cluster.windows.window import MAX_DISTINCT, MAX_HOPS

PAGE = (Path(__file__).parents[2] / "docs" / "windows.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    file = tmp_path_factory.mktemp("project") / "definitions.py"
    file.write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), encoding="utf-8")
    return loader.from_bytes(loader.to_bytes(loader.load("page", file)))


def test_the_block_defines_what_it_says(catalog: Catalog) -> None:
    windows = [item for item in catalog.views["activity"].features if isinstance(item, Aggregation)]
    names = [item.name for item in windows]
    assert names == ["click_count_7d", "click_count_1h", "product_click_count_7d", "seconds_mean_30d"]
    assert all(name in PAGE for name in names)


def test_the_picture_shows_the_edge(catalog: Catalog) -> None:
    window = catalog.features["click_count_7d"].aggregation
    assert window is not None
    edge = window.span.edge(int(datetime(2026, 5, 8, 12, 34, tzinfo=UTC).timestamp()) * 1_000_000)
    assert datetime.fromtimestamp(edge / 1_000_000, UTC) == datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("function", list(Function))
def test_every_function_is_explained(function: Function) -> None:
    (table,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{function}`" in line]
    assert table.count("|") == 4


def test_its_limits_are_those_of_the_code() -> None:
    assert f"at most {MAX_HOPS:,} hops" in PAGE
    assert f"more than {MAX_DISTINCT:,} in one window" in PAGE


def test_a_cell_takes_as_many_bytes_as_the_page_says() -> None:
    some, most = (Function.COUNT, Function.SUM, Function.MEAN), [f for f in Function if f is not Function.COUNT_DISTINCT]
    assert f"| counts | {Layout.of([Function.COUNT]).width} |" in PAGE
    assert f"| counts, sums and means | {Layout.of(some).width} |" in PAGE
    assert f"| all but different values | {Layout.of(most).width} |" in PAGE
    assert f"compares them, for {SAMPLE:,} entities" in PAGE
