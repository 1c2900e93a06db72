"""`raytide init` writes a project that loads, and whose sample data all passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import config
from cluster.config import IngestConfig
from cluster.errors import Misconfigured, Refused
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from cluster.records import Batch
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from cluster.registry.definitions import FeatureFunction, Mode
from cluster.stores.ports import Upload, UploadState
from cluster.uploads import run_piece
from raytide.cli import app
from raytide.cli_init import FILES, NEXT

MIB = 1024 * 1024
UPLOAD = Upload("u", "key", "orders.csv", "orders", "csv", "aa", 1, UploadState.PROCESSING)


def init(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["init", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def load(folder: Path) -> Catalog:
    settings = config.load(folder)
    return loader.from_bytes(loader.to_bytes(loader.load(settings.project, folder / settings.definitions))).registered_as(1)


class Collected:
    """Takes what a writer would."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def append_upload(self, _upload_id: str, _piece: int, batch: Batch) -> None:
        self.batches.append(batch)


def test_the_project_loads_with_a_function_of_each_mode(tmp_path: Path) -> None:
    init(str(tmp_path / "new" / "shop"))
    catalog = load(tmp_path / "new" / "shop")
    [view] = catalog.views.values()
    assert {f.mode for f in view.features if isinstance(f, FeatureFunction)} == set(Mode)
    assert [spec.name for spec in catalog.resolve(["shop_v1"])] == ["amount_eur", "amount_eur_log", "is_large"]
    assert catalog.online_names() == ["amount_eur", "amount_eur_log", "is_large"]


def test_all_rows_of_the_sample_pass(tmp_path: Path) -> None:
    init(str(tmp_path))
    catalog, taken, limits = load(tmp_path), Collected(), IngestConfig()
    writer: Any = taken
    options = SplitOptions(layout_of(catalog.source("orders")), MIB, MIB)
    for piece in split(tmp_path / "orders.csv", Format.CSV, options):
        run_piece(catalog, limits, writer, UPLOAD, piece)
    [batch] = taken.batches
    values = {(r["entity_id"], r["feature_name"], r["position"]): r["value"] for r in batch.rows.to_pylist()}
    assert (batch.events, len(batch.rejects)) == (5, 0)
    assert values["user_1", "amount_eur", 0] == pytest.approx(8.74)
    assert (values["user_1", "is_large", 0], values["user_1", "is_large", 3]) == (0.0, 1.0)


def test_it_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert init().splitlines() == [
        "written: feature_store.yaml, definitions.py, orders.csv",
        "next:",
        *(f"  {s}" for s in NEXT),
    ]
    assert init("shop").splitlines()[2] == "  cd shop"
    assert sorted(file.name for file in (tmp_path / "shop").iterdir()) == sorted(FILES)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("definitions.py", "orders.csv"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match=r"has definitions\.py, orders\.csv already"):
        init(str(tmp_path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["definitions.py", "orders.csv"]
    assert {file.read_text(encoding="utf-8") for file in tmp_path.iterdir()} == {"mine"}


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="file/shop cannot be written"):
        init(str(tmp_path / "file" / "shop"))
