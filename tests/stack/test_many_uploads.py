"""Ten files at once beside a stream at load: all finish, the cap holds, and the stream goes on all the while."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.ingest.leases import Kind
from cluster.stores.ports import UploadState
from raytide.client import RaytideClient
from tests.fault.world import World

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900), pytest.mark.long]

FILES, ROWS, BAD_EVERY = 10, 60_000, 1_000
SLOTS, RESERVED = 7, 4
RATE = 20_000
SAMPLE_SECONDS = 1.0
#: Samples within which each time something of the stream has to be committed.
WINDOW = 8


@dataclass(frozen=True)
class Sample:
    """What was so at one moment."""

    committed: int  # the sum of the partitions' offsets
    upload_slots: int
    slots: int
    tasks: int  # upload tasks that Ray says are running
    files_at_work: int


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = {
        "RAYTIDE_WORKERS__MAX": str(SLOTS),
        "RAYTIDE_WORKERS__RESERVED_FOR_STREAMS": str(RESERVED),
        "RAYTIDE_UPLOADS__CONCURRENT": str(FILES),
        "RAYTIDE_RAY__NUM_CPUS": str(2 * SLOTS),  # so that the cap is ours and not Ray's
    }
    with World(tmp_path / "app", settings=settings).running() as running:
        yield running


def write_file(folder: Path, number: int) -> Path:
    """Write a file of one of the formats, with a bad row now and then."""
    marker, suffix = uuid.uuid4().hex, ("csv", "jsonl", "parquet")[number % 3]
    frame = pd.DataFrame(
        {
            "entity_id": [f"file-{marker}-{row % 5_000}" for row in range(ROWS)],
            "feature_name": ["nobody" if row % BAD_EVERY == 0 else "account_balance" for row in range(ROWS)],
            "value": [row / 4 for row in range(ROWS)],
            "validated_at": pd.date_range("2024-01-01", periods=ROWS, freq="s", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    path = folder / f"{number}.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@contextlib.contextmanager
def stream_at_load(world: World) -> Iterator[None]:
    """Let the generator send until the end of the block."""
    command = [sys.executable, "-m", "generator", "--profile", "steady", "--rate", str(RATE), "--no-uploads", "--bad", "0"]
    command += ["--batch-messages", "2000", "--batch-seconds", "0.1", "--duration", "800", "--json"]
    sending = subprocess.Popen(command, cwd=world.folder, env=world.environment(), stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        sending.send_signal(signal.SIGINT)
        said, _ = sending.communicate(timeout=60)
    assert json.loads(said)


def running_tasks(world: World) -> int:
    """Return how many upload tasks are running, by Ray's own list of tasks."""
    filters = "filter_keys=state&filter_predicates=%3D&filter_values=RUNNING"
    url = f"{world.remembered()['dashboard']}/api/v0/tasks?limit=10000&{filters}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own dashboard
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]["result"]
    return sum(task["name"].startswith("upload:") for task in found)


def take_sample(world: World) -> Sample:
    tasks, status = running_tasks(world), world.client.status()
    held = status.limiter.held
    uploads = [slot for slot in held if slot.kind == Kind.UPLOAD]
    return Sample(
        committed=sum(partition.next_offset or 0 for partition in status.partitions),
        upload_slots=len(uploads),
        slots=len(held),
        tasks=tasks,
        files_at_work=len({slot.job for slot in uploads}),
    )


def samples_until(done: threading.Event, world: World) -> list[Sample]:
    samples = [take_sample(world)]
    while not done.wait(SAMPLE_SECONDS):
        samples.append(take_sample(world))
    return samples


def send(world: World, path: Path) -> tuple[UploadState, int, int]:
    with RaytideClient(world.gateway()) as client:
        ended = client.upload_file(path, source="features")
    return ended.state, ended.rows, ended.rejected


def test_ten_uploads_at_once_and_the_stream_at_load(world: World, tmp_path: Path) -> None:
    paths = [write_file(tmp_path, number) for number in range(FILES)]
    done = threading.Event()
    with stream_at_load(world), ThreadPoolExecutor(FILES + 1) as threads:
        before = take_sample(world)
        deadline = time.monotonic() + 120
        while take_sample(world).committed <= before.committed:
            assert time.monotonic() < deadline, "the stream has not begun"
        sampling = threads.submit(samples_until, done, world)
        uploads: list[Future[tuple[UploadState, int, int]]] = [threads.submit(send, world, path) for path in paths]
        wait(uploads)
        done.set()
        samples = sampling.result()
    bad = ROWS // BAD_EVERY
    assert [upload.result() for upload in uploads] == [(UploadState.DONE, ROWS - bad, bad)] * FILES

    assert len(samples) > WINDOW
    limiter = json.loads(world.raytide("status", "--json").stdout)["limiter"]
    assert limiter["most_at_once"] <= SLOTS == limiter["slots"]
    assert max(sample.slots for sample in samples) <= SLOTS
    assert max(sample.upload_slots for sample in samples) <= SLOTS - RESERVED
    assert 0 < max(sample.tasks for sample in samples) <= SLOTS - RESERVED
    assert max(sample.files_at_work for sample in samples) > 1, "files take turns"
    committed = [sample.committed for sample in samples]
    assert all(later > earlier for earlier, later in zip(committed, committed[WINDOW:], strict=False)), committed
    world.raytide("verify", "--wait", "120")
