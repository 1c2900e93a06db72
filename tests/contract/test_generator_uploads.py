"""How the generator sends files, against a gateway in memory."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from cluster.errors import NotFound
from generator.files import make_file
from generator.profiles import FILE_KINDS, FILE_WAYS, Profile, Settings
from generator.report import print_report
from generator.tally import Tally
from generator.uploads import Uploader
from raytide.client import RaytideClient
from tests.upload_gateway import FAILED, Kept, UploadGateway, serving

PLAN = Settings("nowhere:1", profile=Profile(bad=0.1), upload_rows=10_000)


@pytest.fixture
def gateway() -> UploadGateway:
    return UploadGateway()


@pytest.fixture
def settings(gateway: UploadGateway) -> Iterator[Settings]:
    with serving(gateway) as address:
        yield replace(PLAN, gateway=address)


@pytest.fixture
def uploader(settings: Settings, tmp_path: Path) -> Iterator[Uploader]:
    with RaytideClient(str(settings.gateway)) as client:
        yield Uploader(settings, client, tmp_path)
    assert list(tmp_path.iterdir()) == []


def in_way(uploader: Uploader, settings: Settings, way: str) -> Uploader:
    uploader._settings = replace(settings, file_ways=(way,))
    return uploader


def counts(number: int = 0) -> tuple[int, int]:
    """Return good and bad rows; that they are bad does not depend on when the file is made."""
    events = list(make_file(PLAN, number, datetime.now(UTC)).events)
    return len(events) - events.count(None), events.count(None)


def test_a_file_is_right_when_exactly_its_bad_rows_are_rejected(uploader: Uploader, gateway: UploadGateway) -> None:
    gateway.counts = counts()
    (right,) = uploader.turn()
    assert (right.ok, right.upload_id, right.kind, (right.good, right.bad)) == (True, "u1", "csv", counts())
    assert sum(event is None for event in right.events) == right.bad
    gateway.counts = (counts(1)[0] - 1, counts(1)[1])
    (wrong,) = uploader.turn()
    assert (wrong.ok, wrong.state, wrong.kind) == (False, "DONE", "parquet")


def test_a_file_that_fails_or_is_refused_is_reported(uploader: Uploader, gateway: UploadGateway) -> None:
    gateway.end = (FAILED, "column value is missing")
    (failed,) = uploader.turn()
    assert (failed.ok, failed.state, failed.error) == (False, "FAILED", "column value is missing")
    gateway.refusals = [NotFound("header.source: unknown")]
    (refused,) = uploader.turn()
    assert (refused.ok, refused.upload_id, refused.error) == (False, "", "header.source: unknown")
    assert refused.bad == counts(1)[1]


def test_twice_is_one_upload(uploader: Uploader, settings: Settings, gateway: UploadGateway) -> None:
    gateway.counts = counts()
    (result,) = in_way(uploader, settings, "twice").turn()
    assert (result.ok, gateway.calls.count("UploadFile"), len(gateway.kept)) == (True, 2, 1)


def test_a_file_that_is_taken_twice_is_noticed(uploader: Uploader, settings: Settings, gateway: UploadGateway) -> None:
    gateway.forgets = True
    (result,) = in_way(uploader, settings, "twice").turn()
    assert not result.ok
    assert "it was taken again" in result.error


def test_a_pair_is_two_files_at_once(uploader: Uploader, settings: Settings, gateway: UploadGateway) -> None:
    together, met = threading.Barrier(2), set()

    def meet(kept: Kept) -> None:
        if kept.upload.name not in met:
            met.add(kept.upload.name)
            together.wait(20)

    gateway.at_chunk = meet
    first, second = in_way(uploader, settings, "pair").turn()
    assert (first.name, second.name) == ("features-0000.csv", "features-0001.parquet")
    assert (first.state, second.state) == ("DONE", "DONE")
    assert first.upload_id != second.upload_id


def test_a_cut_file_is_resumed_in_the_middle(uploader: Uploader, settings: Settings, gateway: UploadGateway) -> None:
    gateway.counts = counts()
    (result,) = in_way(uploader, settings, "cut").turn()
    (kept,) = gateway.kept.values()
    assert (result.ok, result.resumed_at) == (True, kept.upload.size // 2)
    assert sum(gateway.chunk_sizes) == kept.upload.size, "the first half was sent once"


def test_every_kind_is_sent_in_every_way_and_counted(uploader: Uploader, settings: Settings, gateway: UploadGateway) -> None:
    tally = Tally()
    uploader._settings = replace(settings, upload_rows=50, profile=Profile(), file_kinds=FILE_KINDS, file_ways=FILE_WAYS)
    gateway.counts = (50, 0)
    for _ in range(28):
        for result in uploader.turn():
            tally.uploaded(result)
    report = tally.report()
    assert report.ok
    assert {(upload.kind, upload.way) for upload in report.uploads} == {(kind, way) for kind in FILE_KINDS for way in FILE_WAYS}
    assert sum(count.sent for count in report.files) == sum(count.done for count in report.files) == 35
    content = json.loads(json.dumps(report.as_json()))
    assert content["files"]["csv.gz"] == {"kind": "csv.gz", "sent": 5, "done": 5, "rows": 250, "rejected": 0}
    assert "events" not in content["uploads"][0]
    output = io.StringIO()
    print_report(report, Console(file=output, width=120))
    assert "rows acknowledged" in output.getvalue()
    assert "resumed at byte" in output.getvalue()
