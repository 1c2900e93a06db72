"""A piece of a file whose worker dies: run again, and given up with a clear error when it is what kills them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from actors import handles
from actors.clients import SlotClient
from actors.limiter import Limiter
from actors.upload import TRIES, RayPieceRunner
from cluster.config import Config, WorkersConfig
from cluster.errors import BadFile
from cluster.ingest.leases import Claim, Kind
from cluster.ingest.split import Format, Piece
from cluster.records import Batch
from cluster.registry.catalog import Catalog, build
from cluster.registry.definitions import Entity, FeatureView, Field, FileSource, Wide, feature
from cluster.stores.ports import Upload, UploadState
from cluster.uploads import PieceCounts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(180)]

UPLOAD = Upload("u1", "key", "weekly.csv", "orders", "csv", "aa", 10, UploadState.PROCESSING)
DEADLY = 13


class Writer:
    """Remembers which pieces were appended, in the place of the real writer."""

    def __init__(self) -> None:
        self._pieces: list[int] = []

    def append_upload(self, _upload_id: str, piece: int, _batch: Batch) -> None:
        self._pieces.append(piece)

    def pieces(self) -> list[int]:
        return self._pieces


@pytest.fixture
def writer() -> Iterator[handles.Remote]:
    handles.ensure(Limiter, handles.LIMITER, WorkersConfig(max=3, reserved_for_streams=1))
    handles.ensure(Writer, handles.WRITER)
    yield handles.Remote(handles.WRITER)
    handles.kill(handles.WRITER)
    handles.kill(handles.LIMITER)


def definitions(deaths: Path, most: int) -> Catalog:
    """Return a source with a function that ends its process at one value, `most` times; each death leaves a file."""

    @feature()
    def fragile(amount: float) -> float:
        if amount == DEADLY and len(list(deaths.iterdir())) < most:
            (deaths / uuid.uuid4().hex).touch()
            os._exit(1)
        return amount

    source = FileSource("orders", Wide("user_id", "at", (Field("amount"),)))
    return build("demo", [FeatureView("order", Entity("user", "user_id"), source, [fragile])]).registered_as(1)


def pieces(count: int) -> Iterator[Piece]:
    """Yield pieces of ten rows; the deadly value is in the second."""
    for number in range(count):
        rows = range(10 * number, 10 * number + 10)
        payload = b"".join(b"u,2024-05-01,%d\n" % row for row in rows)
        yield Piece(number, rows.start, 10, Format.CSV, payload, ("user_id", "at", "amount"))


def run(catalog: Catalog, count: int) -> list[PieceCounts]:
    return list(RayPieceRunner(Config(project="demo"), "gateway:test").run(catalog, UPLOAD, pieces(count)))


def test_a_task_whose_worker_died_is_run_again(writer: handles.Remote, tmp_path: Path) -> None:
    counts = run(definitions(tmp_path, 1), 3)
    assert len(list(tmp_path.iterdir())) == 1
    assert sorted(c.number for c in counts) == sorted(writer.call("pieces")) == [0, 1, 2]
    assert sum(c.events for c in counts) == 30


def test_files_that_share_the_slots_do_not_wait_for_each_other(writer: handles.Remote, tmp_path: Path) -> None:
    """Two slots, and three files of four pieces: a lease that had to run out first would take longer than all of them."""
    catalog, config = definitions(tmp_path, 0), Config(project="demo")
    lease = WorkersConfig().lease_seconds

    def send(number: int) -> int:
        upload = replace(UPLOAD, upload_id=f"u{number}")
        return sum(c.events for c in RayPieceRunner(config, f"gateway:{number}").run(catalog, upload, pieces(4)))

    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(send, number) for number in range(3)]
        assert [future.result(lease) for future in sent] == [40, 40, 40]
    assert handles.Remote(handles.LIMITER).call("snapshot").most_at_once == 2
    assert len(writer.call("pieces")) == 12


@pytest.mark.usefixtures("writer")
def test_a_file_that_is_given_up_while_it_waits_leaves_no_claim(tmp_path: Path) -> None:
    limiter = handles.Remote(handles.LIMITER)
    others = [SlotClient(Claim(f"other:{n}", Kind.UPLOAD, "other")) for n in range(2)]
    others[0].hold()
    counts = RayPieceRunner(Config(project="demo"), "gateway:test").run(definitions(tmp_path, 0), UPLOAD, pieces(3))
    next(counts)  # the second piece waits for a slot while the first is counted, or has it
    cast("Generator[PieceCounts]", counts).close()
    others[1].hold()
    assert {slot.holder for slot in limiter.call("snapshot").held} == {"other:0", "other:1"}
    assert limiter.call("snapshot").waiting == ()


@pytest.mark.long
def test_a_piece_that_kills_every_worker_fails_the_file_and_says_where(writer: handles.Remote, tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        run(definitions(tmp_path, 1000), 3)
    assert len(list(tmp_path.iterdir())) == TRIES
    said = str(caught.value)
    assert "file 'weekly.csv' (upload u1)" in said
    assert f"died {TRIES} times" in said
    assert "rows 10 to 19" in said
    assert "raytide apply" in said
    assert 1 not in writer.call("pieces")
    assert handles.Remote(handles.LIMITER).call("snapshot").held == ()
