"""Where reads, Redis, the writer and files are measured."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.config import GatewayConfig, OfflineStoreConfig, OnlineStoreConfig
from cluster.errors import RetryLater, Unreachable
from cluster.gateway.backend import Backend
from cluster.gateway.names import Names
from cluster.gateway.online import OnlineReads
from cluster.monitoring import metrics as m
from cluster.monitoring.memory import MemoryMetrics
from cluster.stores.duckdb import DuckStore
from cluster.stores.redis import RedisOnlineStore
from tests.batches import stream_batch
from tests.online_world import HOUR, NOW, OnlineBackend, put
from tests.upload_world import Fails, World, send


class Call:
    """A call with time left."""

    def time_remaining(self) -> float:
        return 10.0


def read(online: Any, metrics: MemoryMetrics) -> None:
    reads = OnlineReads(GatewayConfig(), cast("Backend", OnlineBackend(online)), metrics)
    features, _ = reads.features(Names(("user_age", "risk_score"), ""))
    reads.read(features, ["1", "2"], cast("Any", Call()))


def test_an_online_read_is_measured_by_what_was_answered() -> None:
    backend, metrics = OnlineBackend(), MemoryMetrics()
    put(backend.online, [("1", "user_age", 3.0, NOW), ("2", "user_age", None, NOW), ("1", "risk_score", 1.0, NOW - 2 * HOUR)])
    read(backend.online, metrics)
    counted = {key[1]: value for key, value in metrics.counted.items()}
    assert counted == {"PRESENT": 1, "NULL_VALUE": 1, "OUTSIDE_MAX_AGE": 1, "NOT_FOUND": 1}
    (seconds,) = metrics.observed[m.ONLINE_READ_SECONDS.name, "answered"]
    assert 0 < seconds < 60


def test_a_read_that_fails_is_measured_too_and_so_is_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    metrics = MemoryMetrics()
    with closing(RedisOnlineStore(f"redis://127.0.0.1:{port}/0", OnlineStoreConfig(), metrics)) as away:
        with pytest.raises(Unreachable):
            read(away, metrics)
        with pytest.raises(Unreachable):
            away.ping()
    assert metrics.counted == {(m.REDIS_ERRORS.name, "Unreachable"): 2}
    assert len(metrics.observed[m.ONLINE_READ_SECONDS.name, "failed"]) == 1


def test_a_transaction_is_measured_once(tmp_path: Path) -> None:
    metrics = MemoryMetrics()
    with closing(DuckStore(OfflineStoreConfig(path=str(tmp_path / "f.duckdb"), group_commit_ms=0), metrics=metrics)) as store:
        store.open_partition("events", 0, 0)
        store.commit(stream_batch(1, 0, 5))
        store.commit(stream_batch(1, 0, 5))  # known already
        seen = store.snapshot()
    assert metrics.counted == {(m.COMMITS.name,): 1}
    assert metrics.observed[m.COMMIT_ROWS.name,] == [5.0]
    assert metrics.observed[m.COMMIT_SECONDS.name,][0] > 0
    assert (seen.uploads, seen.oldest_upload_at) == ({}, None)
    assert seen.free_bytes > 0


def test_a_file_is_measured_when_it_is_durable_and_not_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.offline.before = Fails("commit_upload", RetryLater("the writer lost the file's transaction"))
    with closing(world.service()) as service:
        send(service)
    assert world.metrics.counted == {
        (m.UPLOAD_EVENTS.name, "features"): 10,
        (m.UPLOAD_REJECTS.name, "features", "wrong_type"): 5,
    }
