"""The path takes exactly what the generator calls good, and refuses exactly what it calls bad."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from cluster import config
from cluster.config import IngestConfig
from cluster.ingest.decode import compile_decoder
from cluster.ingest.files.decoder import compile_file_decoder
from cluster.ingest.split import Format, SplitOptions, layout_of, split
from cluster.records import Reason, Records
from cluster.registry import loader
from cluster.registry.catalog import Catalog
from generator import flaws
from generator.events import messages
from generator.files import make_file
from generator.profiles import Profile, Settings

DEMO = Path(__file__).parents[2] / "examples" / "demo"
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOW_US = int(START.timestamp()) * 1_000_000 + 60_000_000


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    settings = config.load(DEMO)
    return loader.from_bytes(loader.to_bytes(loader.load(settings.project, DEMO / settings.definitions)))


@pytest.mark.parametrize("source", ["features", "orders"])
def test_messages(catalog: Catalog, source: str) -> None:
    profile = Profile(rate=100, orders=float(source == "orders"), bad=0.2, late=0.2, duplicate=0.1, out_of_order=0.1, null=0.1)
    sent = list(islice(messages(Settings("nowhere:1", profile=profile, start=START), 0), 1_000))
    decode = compile_decoder(catalog.source(source), catalog, IngestConfig())
    numbers = np.arange(len(sent))
    records = Records(0, len(sent), numbers, [m.value for m in sent], np.full(len(sent), NOW_US))
    events, rejected = decode(records, NOW_US)
    assert {r.position for r in rejected} == {n for n, m in enumerate(sent) if m.flaw}
    assert events.position.to_pylist() == [n for n, m in enumerate(sent) if not m.flaw]
    assert events.entity_id.to_pylist() == [m.key.decode() for m in sent if not m.flaw]
    reasons = {r.reason for r in rejected}
    assert {Reason.MALFORMED_JSON, Reason.TOMBSTONE, Reason.MISSING_FIELD, Reason.BAD_TIME, Reason.TIME_IN_FUTURE} <= reasons
    assert len(reasons) >= 9
    assert {m.flaw for m in sent if m.flaw} == set(flaws.LONG if source == "features" else flaws.WIDE)


@pytest.mark.parametrize("number", range(3))
def test_files(catalog: Catalog, number: int, tmp_path: Path) -> None:
    file = make_file(Settings("nowhere:1", profile=Profile(bad=0.2, null=0.2)), number, START)
    source, kind = catalog.source("features"), Format(file.format)
    decode = compile_file_decoder(source, catalog, IngestConfig(), kind)
    pieces = split(file.write(tmp_path).path, kind, SplitOptions(layout_of(source), 100_000, 100_000))
    decoded = [decode(piece, NOW_US, NOW_US) for piece in pieces]
    assert {r.position for d in decoded for r in d.rejected} == {n for n, event in enumerate(file.events) if event is None}
    values = [value for d in decoded for value in d.events.columns["value"].to_pylist()]
    assert values == [event.value for event in file.events if event is not None]
