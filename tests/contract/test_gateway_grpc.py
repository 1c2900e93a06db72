"""The gRPC edge over a real socket, with a twin behind it."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import structlog
from featurestore.v1 import admin_pb2, admin_pb2_grpc, features_pb2, features_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from cluster.backfills import Asked, BackfillProgress, Left
from cluster.config import GatewayConfig, OnlineStoreConfig
from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.dead_letters.selection import condition_of
from cluster.errors import BadFile, Misconfigured, NotFound, OverLimit, RaytideError, Refused, RetryLater, Unreachable
from cluster.gateway import convert, online
from cluster.gateway.arrow import to_chunks
from cluster.gateway.backend import Read
from cluster.gateway.names import Names
from cluster.gateway.server import GatewayServer
from cluster.gateway.services import SERVICES, every_service
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState
from cluster.records import ROWS_SCHEMA
from cluster.registry.aggregation import Aggregation
from cluster.registry.catalog import Catalog, FeatureSpec, build
from cluster.registry.definitions import Entity, FeatureService, FeatureView, Field, Long, StreamSource
from cluster.resets import ResetAnswer, ResetRequest
from cluster.serving.asof import Terms
from cluster.status import (
    Endpoints,
    GatewayReport,
    LimiterReport,
    OnlineReport,
    OnlineState,
    PartitionReport,
    Scope,
    SlotReport,
    SpoolReport,
    StatusReport,
    WriterReport,
)
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.ports import Upload, UploadState
from cluster.stores.redis import RedisOnlineStore
from cluster.uploads.header import checked
from cluster.uploads.messages import CheckProgress, RejectedRow, UploadHeader, UploadProgress
from cluster.uploads.transfer import arriving
from cluster.verify.report import Declared
from cluster.windows.panes import panes_of
from cluster.windows.partials import Layout, Partials
from cluster.windows.ports import PaneCells
from raytide.client import RaytideClient, UploadProgressView

NOW = time.time_ns() // 1000
MAX_UPLOAD = 1_000_000_000
ONLINE = FeatureView(
    "profile",
    Entity("user", "user_id"),
    StreamSource("features", "t", Long()),
    [Field("user_age"), Field("account_balance")],
    online=True,
)
SUMMED = Aggregation("click_count", "sum", timedelta(days=7))
OFFLINE = replace(ONLINE, name="history", features=[Field("click_count"), SUMMED], online=False)
SERVICE = FeatureService("scoring", [ONLINE])
CATALOG = build("shop", [ONLINE, OFFLINE, SERVICE]).registered_as(7)
UPLOAD = Upload("u1", "k1", "a.csv", "features", "csv", "ab" * 32, 10, UploadState.DONE, 9, 1, "", NOW, NOW + 5)
DECLARED = (
    Declared("t", 0, 0, 5, 9, 4, "removed by Kafka", "me", NOW),
    Declared("t", 1, 0, 7, None, None, "made again", "me", NOW),
)
REPORT = {
    "ok": False,
    "checks": [{"name": "ledger", "checked": 10, "offenders": 1, "examples": ["t[0]: gap at 5"]}],
    "partitions": [{"topic": "t", "partition": 0, "first": 0, "next": 9, "end": 11, "behind": 2}],
    "declared": [asdict(loss) for loss in DECLARED],
}
STATUS = StatusReport(
    project="shop",
    registry_version=7,
    taken_at=NOW,
    endpoints=Endpoints("127.0.0.1:9092", "redis://127.0.0.1:6380/0", "127.0.0.1:50051", ""),
    partitions=(
        PartitionReport("t", 0, "RUNNING", "", "partition:t:0", 3, 90, 100, 80, 10, 2),
        PartitionReport("t", 1, "WAITING", "topic t does not exist"),
    ),
    limiter=LimiterReport(16, 8, 3, (SlotReport("partition:t:0", "stream", "t", 1.5),), (SlotReport("u", "upload", "u1"),)),
    writer=WriterReport("RUNNING", "", 4, 5, 600, 1, 2048, 4096),
    uploads=(UPLOAD,),
    online=OnlineReport(OnlineState.REBUILDING, "", 12, 100),
    spool=SpoolReport(4096, 10 * 2**30, 3, 1),
    gateways=(
        GatewayReport("gateway:a:1", "RUNNING", "127.0.0.1:50051"),
        GatewayReport("gateway:a:2", "AWAY", "", "gateway:a:2 is restarting"),
    ),
)


CHECKED = CheckProgress(3, 8, 2, {"bad_time": 2}, (RejectedRow(4, "bad_time", "'at' is no time", b"a,\xff"),), done=True)
LETTER = DeadLetter(Place(12, "t", 1), "features", "bad_time", "'at' is no time", 6, NOW, None, NOW - 9, 40)
REPLAYED = ReplayProgress(9, 7, 8, 4, 1, {"bad_time": 2}, {"no source reads it": 1})


@dataclass
class TwinUploads:
    """Takes files into memory, with the header checks of the real service."""

    taken: list[bytes] = field(default_factory=list)
    broke: threading.Event = field(default_factory=threading.Event)
    is_stored: bool = False

    def submit(self, header: UploadHeader, chunks: Iterator[bytes], /) -> Iterator[UploadProgress]:
        header = checked(header, CATALOG, MAX_UPLOAD)
        try:
            yield from self._take(header, chunks)
        except (RetryLater, GeneratorExit):  # the stream broke, or nobody asks for progress any more
            self.broke.set()
            raise

    def _take(self, header: UploadHeader, chunks: Iterator[bytes]) -> Iterator[UploadProgress]:
        upload = replace(UPLOAD, **_named(header), state=UploadState.RECEIVING, rows=0, rejected=0)
        yield UploadProgress(upload, 0, None, 0)
        content = b"".join(arriving(chunks, 20))
        if hashlib.sha256(content).hexdigest() != header.sha256:
            yield UploadProgress(replace(upload, state=UploadState.FAILED, error="sha256: differs"), len(content), None, 0)
            raise BadFile("sha256: the bytes that came have another checksum: send the file again")
        self.taken.append(content)
        yield UploadProgress(replace(upload, state=UploadState.PROCESSING), len(content), 2, 1)
        yield UploadProgress(replace(upload, state=UploadState.DONE, rows=9, rejected=1), len(content), 2, 2)

    def check(self, header: UploadHeader, chunks: Iterator[bytes], /) -> Iterator[CheckProgress]:
        header = checked(header, CATALOG, MAX_UPLOAD)
        yield CheckProgress(0)
        content = b"".join(arriving(chunks, 20))
        yield replace(CHECKED, received=len(content))

    def get(self, upload_id: str, /) -> Upload:
        if upload_id != UPLOAD.upload_id:
            raise NotFound(f"no upload is called '{upload_id}'")
        return UPLOAD

    def listed(self, limit: int, /) -> list[Upload]:
        return [UPLOAD] * min(limit, 3)

    def watch(self, upload_id: str, is_wanted: Callable[[], bool], /) -> Iterator[UploadProgress]:
        upload = self.get(upload_id)
        assert is_wanted()
        yield UploadProgress(replace(upload, state=UploadState.PROCESSING), 10, None, 1, 2, 8, 1, 0)
        yield UploadProgress(upload, 10, 2, 2, 2, 9, 1, 7)

    def cancel(self, upload_id: str, /) -> Upload:
        if (upload := self.get(upload_id)) and self.is_stored:
            raise Refused("upload u1 is DONE and cannot become CANCELLED: its rows are in history")
        return replace(upload, state=UploadState.CANCELLED, original_kept=True)

    def retry(self, upload_id: str, /) -> Upload:
        if (upload := self.get(upload_id)) and self.is_stored:
            raise Refused("upload u1 is DONE: only one that is FAILED or CANCELLED can be retried")
        return replace(upload, state=UploadState.STORED)


def _named(header: UploadHeader) -> dict[str, Any]:
    names = ("name", "source", "format", "sha256", "idempotency_key")
    return {**{name: getattr(header, name) for name in names}, "bytes": header.size}


class TwinLetters:
    """One dead letter, and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def listed(self, selection: Selection, limit: int, /) -> tuple[list[DeadLetter], int]:
        condition_of(selection, CATALOG)
        self.asked.append((selection, limit))
        return [LETTER], 12

    def in_full(self, place: Place, /) -> DeadLetter:
        if place != LETTER.place:
            raise NotFound(f"{place} was not rejected")
        return replace(LETTER, payload=b"{\xff", key=b"", headers=(("id", b"1"), ("id", b"2")))

    def replay(self, selection: Selection, /) -> Iterator[ReplayProgress]:
        yield from self.try_out(selection)
        yield replace(REPLAYED, note="Redis is away")

    def try_out(self, selection: Selection, /) -> Iterator[ReplayProgress]:
        condition_of(selection, CATALOG)
        self.asked.append(selection)
        yield REPLAYED


BACKFILL = Backfill(
    "b1",
    "clicks",
    "events",
    ("a", "b"),
    3,
    5,
    9,
    (BackfillPart("t", 1, 2, 12, 7, 4, 1, None, 3, 6, 5, 1, 2), BackfillPart("", 0, 0, 9, 4, 4, upload_id="u2")),
    holder="gateway:1",
)
LEFT = Left("upload u1", 7, "its original is not kept")


class TwinBackfills:
    """One backfill, and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def run(self, asked: Asked, /) -> Iterator[BackfillProgress]:
        self.asked.append(asked)
        if asked.view != BACKFILL.view:
            raise NotFound(f"view: no feature view is called '{asked.view}'")
        yield BackfillProgress(BACKFILL, (LEFT,))
        yield BackfillProgress(replace(BACKFILL, state=BackfillState.DONE), (LEFT,))

    def try_out(self, asked: Asked, /) -> Iterator[BackfillProgress]:
        self.asked.append(asked)
        yield BackfillProgress(BACKFILL, (LEFT,), dry_run=True)

    def listed(self, limit: int, /) -> list[Backfill]:
        return [BACKFILL] * min(limit, 2)

    def cancel(self, backfill_id: str, /) -> Backfill:
        if backfill_id != BACKFILL.backfill_id:
            raise NotFound(f"no backfill is called '{backfill_id}'")
        return replace(BACKFILL, state=BackfillState.STOPPED, note="cancelled")


class Twin:
    """Meets Backend and Offline; `trouble` makes status fail, `gate` makes it wait."""

    function_seconds = 5.0

    def __init__(self) -> None:
        self.online: MemoryOnlineStore | RedisOnlineStore = MemoryOnlineStore()
        self.uploads = TwinUploads()
        self.dead_letters = TwinLetters()
        self.backfills = TwinBackfills()
        self.trouble: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.asked: Any = {}
        self.waits_for_cancel = False
        self.cancelled: list[str] = []
        self.stopped = threading.Event()
        self.table = pa.table({"n": [1]})
        self.in_force = CATALOG

    @property
    def offline(self) -> Twin:
        return self

    def catalog(self) -> Catalog:
        return self.in_force

    def sql(self, statement: str) -> pa.Table:
        if not statement.upper().startswith("SELECT"):
            raise Refused("only SELECT is allowed: this statement writes")
        return self.table

    def query(self, _sql: str, _parameters: Sequence[Any] = ()) -> pa.Table:
        return self.table

    def catalog_of(self, version: int, /) -> Catalog:
        if version not in {0, 7}:
            raise NotFound(f"there is no registry version {version}")
        return CATALOG

    def cancel_historical(self, read_id: str, /) -> None:
        self.cancelled.append(read_id)

    def historical(self, entity_rows: pa.Table, specs: Sequence[FeatureSpec], terms: Terms, read: Read) -> pa.Table:
        if "event_timestamp" not in entity_rows.column_names:
            raise Refused("column event_timestamp is missing: add each row's time")
        self.asked = {
            "references": [f"{spec.view}:{spec.name}" for spec in specs],
            "known_at": terms.known_at_us,
            "full_names": terms.full_names,
        }
        if self.waits_for_cancel:
            self.entered.release()
            while not self.cancelled:
                time.sleep(0.01)
            assert self.cancelled == [read.read_id]
            self.stopped.set()
        return entity_rows.append_column("user_age", pa.array(np.arange(entity_rows.num_rows, dtype=np.float64)))

    def status(self) -> StatusReport:
        self.entered.release()
        assert self.gate.wait(30)
        if self.trouble is not None:
            raise self.trouble
        return STATUS

    def verify(self, wait_s: float, scope: Scope, /) -> Mapping[str, Any]:
        self.asked = {"wait_s": wait_s, "scope": scope}
        return REPORT

    def resume_partition(self, topic: str, partition: int, allowed_rejects: int) -> PartitionReport:
        self.asked = {"resumed": (topic, partition, allowed_rejects)}
        return next(p for p in STATUS.partitions if (p.topic, p.partition) == (topic, partition))

    def reset_partition(self, request: ResetRequest) -> ResetAnswer:
        self.asked = request
        if self.trouble is not None:
            raise self.trouble
        return ResetAnswer(5, 9, DECLARED)

    def rebuild_online(self) -> Iterator[OnlineReport]:
        yield STATUS.online
        if self.trouble is not None:
            raise self.trouble
        yield OnlineReport(OnlineState.OK, "", 100, 100)


def silent_twin(url: str) -> Twin:
    """Return a twin whose Redis is at `url`."""
    twin = Twin()
    twin.online = RedisOnlineStore(url, OnlineStoreConfig(timeout_ms=3_600_000))
    return twin


@pytest.fixture
def twin() -> Twin:
    return Twin()


@pytest.fixture
def address(twin: Twin) -> Iterator[str]:
    yield from _serving(twin, GatewayConfig(port=0))


def _serving(twin: Twin, config: GatewayConfig) -> Iterator[str]:
    server = GatewayServer(config, every_service(twin))
    server.start()
    yield f"127.0.0.1:{server.port}"
    twin.gate.set()
    server.stop(1)


@pytest.fixture
def client(address: str) -> Iterator[RaytideClient]:
    with RaytideClient(address, timeout_s=20) as connected:
        yield connected


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as connected:
        yield connected


def failure(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str, str]:
    """Return the code, the field at fault and the text with which a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call())
    error: Any = caught.value
    fields = []
    for detail in rpc_status.from_call(error).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            fields += [violation.field for violation in bad.field_violations]
    return error.code(), ",".join(fields), error.details()


def store(twin: Twin, rows: Sequence[tuple[str, str, float | None, int]]) -> None:
    columns: Any = list(zip(*rows, strict=True))
    table = {
        "entity_id": columns[0],
        "feature_name": columns[1],
        "value": columns[2],
        "event_timestamp": columns[3],
        "created_at": columns[3],
        "position": list(range(len(rows))),
    }
    twin.online.write(pa.table(table).cast(ROWS_SCHEMA))


# ---- online


def test_online_answers_each_pair_with_value_status_and_age(twin: Twin, client: RaytideClient) -> None:
    store(twin, [("1", "user_age", 31.5, NOW - 1000), ("2", "user_age", None, NOW - 2000)])
    answer = client.get_online_features(["profile"], [1, "2", "ü"])
    assert answer.names == ["user_age", "account_balance"]
    assert answer.entity_ids == ["1", "2", "ü"]
    assert answer.registry_version == 7
    assert answer.to_dict() == {
        "entity_id": ["1", "2", "ü"],
        "user_age": [31.5, None, None],
        "user_age__status": ["PRESENT", "NULL_VALUE", "NOT_FOUND"],
        "account_balance": [None] * 3,
        "account_balance__status": ["NOT_FOUND"] * 3,
    }
    assert answer.event_timestamps[0].tolist() == [NOW - 1000, NOW - 2000, 0]
    assert answer.ages[0][0] >= 1000
    assert answer.ages[0][2] == 0


def test_online_as_a_frame_has_times_where_there_are_some(twin: Twin, client: RaytideClient) -> None:
    store(twin, [("1", "user_age", 31.5, 1_700_000_000_000_001)])
    frame = client.get_online_features("scoring", ["1", "2"]).to_df()
    assert frame["user_age__event_timestamp"].tolist() == [pd.Timestamp("2023-11-14 22:13:20.000001", tz="UTC"), pd.NaT]
    assert frame["user_age__status"].tolist() == ["PRESENT", "NOT_FOUND"]


def test_a_feature_named_twice_is_answered_once(client: RaytideClient) -> None:
    answer = client.get_online_features(["user_age", "profile", "profile:user_age"], ["1"])
    assert answer.names == ["user_age", "account_balance"]


@pytest.mark.parametrize(
    ("request_", "code", "field_", "said"),
    [
        ({"features": ["user_age"]}, "INVALID_ARGUMENT", "entity_ids", "empty"),
        ({"entity_ids": ["1"]}, "INVALID_ARGUMENT", "features", "name either"),
        (
            {"features": ["user_age"], "feature_service": "scoring", "entity_ids": ["1"]},
            "INVALID_ARGUMENT",
            "features",
            "either",
        ),
        ({"features": ["user_age", "user_agee"], "entity_ids": ["1"]}, "NOT_FOUND", "features[1]", "'user_age'"),
        ({"features": ["history:user_age"], "entity_ids": ["1"]}, "NOT_FOUND", "features[0]", "profile:user_age"),
        ({"feature_service": "scorings", "entity_ids": ["1"]}, "NOT_FOUND", "feature_service", "'scoring'"),
        ({"features": ["click_count"], "entity_ids": ["1"]}, "INVALID_ARGUMENT", "features", "not kept online"),
        (
            {"features": ["click_count_sum_7d"], "entity_ids": ["1"]},
            "INVALID_ARGUMENT",
            "features",
            "not kept online",
        ),
        (
            {"features": ["user_age"], "entity_ids": [f"user_{i}" for i in range(100_000)]},
            "RESOURCE_EXHAUSTED",
            "entity_ids",
            "10,000",
        ),
    ],
    ids=["no-entities", "no-features", "both", "near", "other-view", "service", "offline", "window", "100k-entities"],
)
def test_wrong_online_requests_name_the_argument(
    channel: grpc.Channel, request_: dict[str, Any], code: str, field_: str, said: str
) -> None:
    stub = features_pb2_grpc.FeatureServiceStub(channel)
    got = failure(lambda: [stub.GetOnlineFeatures(features_pb2.GetOnlineFeaturesRequest(**request_), timeout=20)])
    assert (got[0].name, got[1]) == (code, field_)
    assert said in got[2]


def test_more_values_than_allowed_are_refused_by_number(twin: Twin) -> None:
    for address in _serving(twin, GatewayConfig(port=0, max_values=6)):
        with RaytideClient(address) as client:
            assert client.get_online_features("scoring", [1, 2, 3]).names == ["user_age", "account_balance"]
            with pytest.raises(OverLimit, match=r"4 entities with 2 features are 8 values.*6.*gateway\.max_values"):
                client.get_online_features("scoring", [1, 2, 3, 4])


def test_more_cells_of_windows_than_allowed_are_refused_by_number(twin: Twin) -> None:
    counted = Aggregation("user_age", "count", timedelta(days=7))
    twin.in_force = build("shop", [replace(ONLINE, features=[*ONLINE.features, counted])]).registered_as(8)
    for address in _serving(twin, GatewayConfig(port=0, max_cells=400)):
        with RaytideClient(address) as client:
            with pytest.raises(RetryLater):  # allowed, only not there yet
                client.get_online_features([counted.name], [1, 2])
            with pytest.raises(OverLimit, match=r"3 entities with windows of 169 cells are 507 cells.*400.*gateway\.max_cells"):
                client.get_online_features([counted.name], [1, 2, 3])


def test_windows_are_read_among_newest_values_and_as_of_now(twin: Twin, client: RaytideClient) -> None:
    counted = Aggregation("user_age", "count", timedelta(days=7))
    mean = Aggregation("user_age", "mean", timedelta(hours=1))
    twin.in_force = build("shop", [replace(ONLINE, features=[counted, *ONLINE.features, mean])]).registered_as(8)
    names = [counted.name, "user_age", mean.name]
    with pytest.raises(RetryLater, match=f"feature '{counted.name}': its windows are being computed from history"):
        client.get_online_features(names, ["1"])
    panes, windows = panes_of(twin.in_force), twin.online.windows
    windows.claim("me")
    for pane in panes:
        layout = Layout.of(pane.functions)
        table = {"n": [2], "mean": [41.5]}
        cells = Partials.from_table(layout, pa.table({name: table[name] for name in layout.columns})).pack()
        windows.put("me", PaneCells(pane, ["1"], [pane.cell(time.time_ns() // 1000)], cells), 0)
    windows.ready("me", panes)
    answer = client.get_online_features(names, ["1", "nobody"])
    assert answer.names == names
    assert [answer.values[0].tolist(), answer.values[2].tolist()[0]] == [[2.0, 0.0], 41.5]
    assert answer.statuses[0] == ["PRESENT", "PRESENT"]
    assert answer.statuses[2] == ["PRESENT", "NULL_VALUE"]
    assert abs(int(answer.event_timestamps[0][0]) - time.time_ns() // 1000) < 60_000_000
    assert answer.statuses[1] == client.get_online_features(["user_age"], ["1", "nobody"]).statuses[0]


def test_names_mean_what_the_definitions_in_force_say(twin: Twin, client: RaytideClient) -> None:
    assert client.get_online_features("scoring", ["1"]).registry_version == 7
    twin.in_force = build(
        "shop", [replace(ONLINE, features=[Field("user_age")]), FeatureService("scoring", ["user_age"])]
    ).registered_as(8)
    answer = client.get_online_features("scoring", ["1"])
    assert (answer.names, answer.registry_version) == (["user_age"], 8)


def test_more_lists_of_names_than_are_kept(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "KEPT_LISTS", 2)
    reads = online.OnlineReads(GatewayConfig(), twin)
    lists = [Names(features, "") for features in (("user_age",), ("account_balance",), ("profile",), ("user_age",))]
    assert [reads.features(names)[0].names[0] for names in lists] == ["user_age", "account_balance", "user_age", "user_age"]
    assert len(reads._known[1]) <= 2


def _read_online(address: str, seconds: float) -> tuple[grpc.StatusCode, str]:
    request = features_pb2.GetOnlineFeaturesRequest(features=["user_age"], entity_ids=["1"])
    with grpc.insecure_channel(address) as channel:
        call = features_pb2_grpc.FeatureServiceStub(channel).GetOnlineFeatures
        code, _, text = failure(lambda: [call(request, timeout=seconds, wait_for_ready=True)])
    return code, text


@pytest.mark.parametrize("seconds", [2, 20])
def test_a_silent_redis_is_told_within_the_callers_deadline(seconds: float) -> None:
    config = GatewayConfig(port=0, online_timeout_ms=100 if seconds > 10 else 3_600_000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = silent_twin(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        for address in _serving(away, config):
            code, text = _read_online(address, seconds)
        away.online.close()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "Redis at 127.0.0.1" in text


def test_a_message_over_the_limit_is_refused_and_the_next_call_works(client: RaytideClient) -> None:
    with pytest.raises(OverLimit, match="too long"):
        client.get_online_features(["user_age"], ["x" * 50_000_000])
    assert client.get_online_features(["user_age"], ["1"]).statuses == [["NOT_FOUND"]]


# ---- historical


MIXED = pa.table(
    {
        "user_id": ["a", "ü", None],
        "event_timestamp": pa.array([0, 1, 2], pa.timestamp("us", tz="UTC")),
        "label": pa.array([True, None, False]),
        "count": pa.array([1, 2**62, -1], pa.int64()),
        "price": pa.array([Decimal("1.10"), None, Decimal("-0.01")], pa.decimal128(10, 2)),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "tags": pa.array([["a"], [], None]),
        "raw": pa.array([b"\x00", b"", None]),
    }
)


def test_historical_carries_every_type_both_ways(twin: Twin, client: RaytideClient) -> None:
    known_at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    joined = client.get_historical_features(MIXED, ["profile"], known_at=known_at, full_feature_names=True)
    assert joined.drop_columns(["user_age"]).equals(MIXED)
    assert joined["user_age"].to_pylist() == [0.0, 1.0, 2.0]
    expected = ["profile:user_age", "profile:account_balance"]
    assert twin.asked == {"references": expected, "known_at": 1_767_323_045_678_901, "full_names": True}


def test_historical_takes_frames_and_many_rows_in_small_messages(twin: Twin, client: RaytideClient) -> None:
    rows = 200_000
    frame = pd.DataFrame({"user_id": np.arange(rows).astype(str), "event_timestamp": pd.Timestamp("2026-01-01", tz="UTC")})
    joined = client.get_historical_features(frame, "scoring")
    assert joined.num_rows == rows
    assert joined["user_id"].to_pylist() == frame["user_id"].tolist()
    assert twin.asked["known_at"] is None


def test_historical_without_rows_is_fine(client: RaytideClient) -> None:
    assert client.get_historical_features(MIXED.slice(0, 0), ["user_age"]).num_rows == 0


def _historical(*messages: Any) -> Iterator[features_pb2.GetHistoricalFeaturesRequest]:
    for message in messages:
        part = {"entity_rows": message} if isinstance(message, bytes) else {"header": message}
        yield features_pb2.GetHistoricalFeaturesRequest(**part)


HEADER = features_pb2.GetHistoricalFeaturesHeader(features=["user_age"])
ROWS = b"".join(to_chunks(MIXED))
NO_TIME = b"".join(to_chunks(MIXED.drop_columns(["event_timestamp"])))


@pytest.mark.parametrize(
    ("messages", "field_", "said"),
    [
        ([], "header", "first message"),
        ([ROWS], "header", "first message"),
        ([HEADER], "entity_rows", "Arrow"),
        ([HEADER, b"user_id,event_timestamp\n1,2\n"], "entity_rows", "Arrow"),
        ([HEADER, ROWS[: len(ROWS) // 2]], "entity_rows", "Arrow"),
        ([HEADER, HEADER], "entity_rows", "message 2"),
        ([HEADER, NO_TIME], "entity_rows", "event_timestamp"),
        ([features_pb2.GetHistoricalFeaturesHeader(), ROWS], "features", "name either"),
    ],
    ids=["nothing", "no-header", "no-rows", "not-arrow", "cut", "header-twice", "no-time", "no-features"],
)
def test_wrong_historical_streams_name_the_argument(channel: grpc.Channel, messages: list[Any], field_: str, said: str) -> None:
    stub = features_pb2_grpc.FeatureServiceStub(channel)
    code, field, text = failure(lambda: stub.GetHistoricalFeatures(_historical(*messages), timeout=20))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, field_)
    assert said in text


def test_more_historical_rows_than_allowed_are_refused_by_number(twin: Twin) -> None:
    for address in _serving(twin, GatewayConfig(port=0, max_historical_rows=2)):
        with RaytideClient(address) as client, pytest.raises(OverLimit, match="entity_rows: more than 2 rows"):
            client.get_historical_features(MIXED, ["user_age"])


def test_more_historical_bytes_than_allowed_are_refused_by_number(twin: Twin) -> None:
    for address in _serving(twin, GatewayConfig(port=0, max_historical_bytes=2)):
        with RaytideClient(address) as client, pytest.raises(OverLimit, match="entity_rows: more than 2 bytes"):
            client.get_historical_features(MIXED, ["user_age"])


def test_an_answer_that_would_be_larger_than_allowed_is_refused_by_number(twin: Twin) -> None:
    rows = pa.table({"user_id": pa.array(["1"] * 100), "event_timestamp": pa.nulls(100, pa.timestamp("us"))})
    for address in _serving(twin, GatewayConfig(port=0, max_historical_bytes=1_500)):
        with RaytideClient(address) as client:
            few = client.get_historical_features(rows, ["user_age"])
            assert few.num_rows == 100
            with pytest.raises(OverLimit, match=r"100 rows of 2 features.*max_historical_bytes"):
                client.get_historical_features(rows, "scoring")


def test_a_historical_read_ends_when_its_client_goes_away(twin: Twin, channel: grpc.Channel) -> None:
    twin.waits_for_cancel = True
    call = features_pb2_grpc.FeatureServiceStub(channel).GetHistoricalFeatures(_historical(HEADER, ROWS), timeout=60)
    assert twin.entered.acquire(timeout=20)
    call.cancel()
    assert twin.stopped.wait(20)


def test_an_unknown_registry_version_is_said(client: RaytideClient) -> None:
    with pytest.raises(NotFound, match="registry_version: there is no registry version 99"):
        client.get_historical_features(MIXED, ["user_age"], registry_version=99)


# ---- files


def test_a_file_arrives_whole_and_its_end_is_told(twin: Twin, client: RaytideClient, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(1_000_000)
    path = tmp_path / "wide file.ndjson"
    path.write_bytes(content)
    seen: list[UploadProgressView] = []
    done = client.upload_file(path, source="features", progress=seen.append)
    assert twin.uploads.taken == [content]
    assert (done.state, done.rows, done.rejected, done.error, done.format) == (UploadState.DONE, 9, 1, "", "jsonl")
    assert [view.upload.state.value for view in seen] == ["RECEIVING", "PROCESSING", "DONE"]
    assert [(v.pieces_total, v.pieces_done) for v in seen] == [(None, 0), (2, 1), (2, 2)]
    assert {view.size for view in seen} == {1_000_000}
    assert seen[-1].received == 1_000_000


def test_the_default_key_is_made_of_source_name_and_content(client: RaytideClient, tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    for folder in (same, other):
        folder.mkdir()
        (folder / "a.csv").write_bytes(b"abc")
    (same / f"{'b' * 240}.csv").write_bytes(b"abc")
    (other / "c.csv").write_bytes(b"abd")
    (other / os.fsdecode(b"\xff.csv")).write_bytes(b"abc")
    keys = {p: client.upload_file(p, source="features").idempotency_key for p in (*same.iterdir(), *other.iterdir())}
    assert keys[same / "a.csv"] == keys[other / "a.csv"]
    assert len(set(keys.values())) == 4


def test_an_empty_file_is_the_upload_services_to_judge(twin: Twin, client: RaytideClient, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    assert client.upload_file(tmp_path / "a.csv", source="features", idempotency_key="k").idempotency_key == "k"
    assert twin.uploads.taken == [b""]


def test_a_file_that_failed_is_returned_with_its_error(
    client: RaytideClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"abc")
    monkeypatch.setattr("raytide.local_files.hashlib.file_digest", lambda _stream, name: hashlib.new(name, b"another"))
    states: list[UploadState] = []
    failed = client.upload_file(path, source="features", progress=lambda view: states.append(view.upload.state))
    assert (failed.state, failed.error) == (UploadState.FAILED, "sha256: differs")
    assert states == [UploadState.RECEIVING, UploadState.FAILED]


def test_bytes_that_do_not_match_name_the_field(channel: grpc.Channel) -> None:
    header = ingest_pb2.UploadFileHeader(**{**GOOD, "sha256": "0" * 64})
    code, field, _ = failure(lambda: ingest_pb2_grpc.IngestServiceStub(channel).UploadFile(_file(header, b"abc"), timeout=20))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "header.sha256")


def _file(header: ingest_pb2.UploadFileHeader | None, *chunks: bytes) -> Iterator[ingest_pb2.UploadFileRequest]:
    if header is not None:
        yield ingest_pb2.UploadFileRequest(header=header)
    for chunk in chunks:
        yield ingest_pb2.UploadFileRequest(chunk=chunk)


GOOD: dict[str, Any] = {
    "name": "a.csv",
    "source": "features",
    "format": ingest_pb2.FILE_FORMAT_CSV,
    "size": 3,
    "sha256": hashlib.sha256(b"abc").hexdigest(),
}


@pytest.mark.parametrize(
    ("change", "code", "field_", "said"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "header.name", "printable"),
        ({"source": "feature"}, "NOT_FOUND", "header.source", "did you mean 'features'"),
        ({"source": ""}, "NOT_FOUND", "header.source", "known"),
        ({"format": 0}, "INVALID_ARGUMENT", "header.format", "csv, parquet, jsonl"),
        ({"format": 99}, "INVALID_ARGUMENT", "header.format", "99"),
        ({"size": -1}, "INVALID_ARGUMENT", "header.size", "0 to"),
        ({"size": 2**62}, "INVALID_ARGUMENT", "header.size", "uploads.max_bytes"),
        ({"sha256": "xyz"}, "INVALID_ARGUMENT", "header.sha256", "64 hexadecimal"),
        ({"options": {"delimiter": "xx"}}, "INVALID_ARGUMENT", "header.options", "delimiter"),
        ({"options": {"null": '"'}}, "INVALID_ARGUMENT", "header.options", "null"),
        ({"compression": 99}, "INVALID_ARGUMENT", "header.compression", "none, gzip, zstd"),
        ({"compression": 2, "format": ingest_pb2.FILE_FORMAT_PARQUET}, "INVALID_ARGUMENT", "header.compression", "Parquet"),
        ({"max_rejects": -1}, "INVALID_ARGUMENT", "header.max_rejects", "0 or more"),
        ({"max_reject_share": float("nan")}, "INVALID_ARGUMENT", "header.max_reject_share", "between 0 and 1"),
        (None, "INVALID_ARGUMENT", "header", "first message"),
    ],
    ids=[
        "name",
        "source",
        "no-source",
        "no-format",
        "format",
        "negative",
        "huge",
        "sha256",
        "options",
        "null",
        "compression",
        "packed-parquet",
        "max-rejects",
        "share",
        "chunk-first",
    ],
)
def test_wrong_headers_name_the_field(
    twin: Twin, channel: grpc.Channel, change: dict[str, Any] | None, *, code: str, field_: str, said: str
) -> None:
    header = None if change is None else ingest_pb2.UploadFileHeader(**{**GOOD, **change})
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    got = failure(lambda: stub.UploadFile(_file(header, b"abc"), timeout=20))
    assert (got[0].name, got[1]) == (code, field_)
    assert said in got[2]
    assert twin.uploads.taken == []


@pytest.mark.parametrize("change", [{"source": "feature"}, {"sha256": "xyz"}, {"max_rejects": -1}])
def test_a_header_to_check_is_judged_like_any_other(channel: grpc.Channel, change: dict[str, Any]) -> None:
    header = ingest_pb2.UploadFileHeader(**{**GOOD, **change})
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    messages = [ingest_pb2.CheckFileRequest(header=header)]
    assert failure(lambda: stub.CheckFile(iter(messages), timeout=20))[1] == f"header.{next(iter(change))}"


def test_a_checked_file_is_told_with_its_examples(channel: grpc.Channel, twin: Twin) -> None:
    header = ingest_pb2.UploadFileHeader(**GOOD)
    messages = [ingest_pb2.CheckFileRequest(header=header), ingest_pb2.CheckFileRequest(chunk=b"abc")]
    answers = list(ingest_pb2_grpc.IngestServiceStub(channel).CheckFile(iter(messages), timeout=20))
    assert [convert.check_from_proto(answer) for answer in answers] == [CheckProgress(0), CHECKED]
    assert twin.uploads.taken == []


def test_an_upload_is_watched_to_its_end(channel: grpc.Channel) -> None:
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    answers = list(stub.WatchUpload(ingest_pb2.WatchUploadRequest(upload_id="u1"), timeout=20))
    last = convert.progress_from_proto(answers[-1].progress)
    assert [a.progress.upload.state for a in answers] == [ingest_pb2.UPLOAD_STATE_PROCESSING, ingest_pb2.UPLOAD_STATE_DONE]
    assert (last.pieces_split, last.rows_validated, last.rows_rejected, last.values_online) == (2, 9, 1, 7)


def test_an_upload_is_cancelled_and_retried(channel: grpc.Channel) -> None:
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    cancelled = stub.CancelUpload(ingest_pb2.CancelUploadRequest(upload_id="u1"), timeout=20).upload
    assert (cancelled.state, cancelled.original_kept) == (ingest_pb2.UPLOAD_STATE_CANCELLED, True)
    again = stub.RetryUpload(ingest_pb2.RetryUploadRequest(upload_id="u1"), timeout=20).upload
    assert again.state == ingest_pb2.UPLOAD_STATE_STORED


@pytest.mark.parametrize(("upload_id", "code", "field_"), [("u1", "FAILED_PRECONDITION", ""), ("u2", "NOT_FOUND", "upload_id")])
def test_what_cannot_be_cancelled_or_retried_is_told(
    channel: grpc.Channel, twin: Twin, upload_id: str, *, code: str, field_: str
) -> None:
    twin.uploads.is_stored = True
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    for call in (
        lambda: [stub.CancelUpload(ingest_pb2.CancelUploadRequest(upload_id=upload_id), timeout=20)],
        lambda: [stub.RetryUpload(ingest_pb2.RetryUploadRequest(upload_id=upload_id), timeout=20)],
    ):
        found = failure(call)
        assert (found[0].name, found[1]) == (code, field_)


def test_a_second_header_is_refused(channel: grpc.Channel) -> None:
    header = ingest_pb2.UploadFileHeader(**GOOD)
    messages = [*_file(header, b"a"), *_file(header)]
    code, field, text = failure(lambda: ingest_pb2_grpc.IngestServiceStub(channel).UploadFile(iter(messages), timeout=20))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "chunk")
    assert "message 3" in text


def test_a_chunk_over_the_limit_ends_the_transfer(channel: grpc.Channel, twin: Twin) -> None:
    messages = _file(ingest_pb2.UploadFileHeader(**GOOD), b"x" * 50_000_000)
    with pytest.raises(grpc.RpcError) as caught:
        list(ingest_pb2_grpc.IngestServiceStub(channel).UploadFile(messages, timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in str(caught.value.details())
    assert twin.uploads.broke.wait(10)
    assert twin.uploads.taken == []


def test_an_abandoned_transfer_tells_the_upload_service(twin: Twin, client: RaytideClient, channel: grpc.Channel) -> None:
    leave = threading.Event()

    def half() -> Iterator[ingest_pb2.UploadFileRequest]:
        yield from _file(ingest_pb2.UploadFileHeader(**GOOD), b"a")
        leave.wait(20)

    call = ingest_pb2_grpc.IngestServiceStub(channel).UploadFile(half())
    assert next(call).upload.state == ingest_pb2.UPLOAD_STATE_RECEIVING
    call.cancel()
    assert twin.uploads.broke.wait(10)
    leave.set()
    assert twin.uploads.taken == []
    assert client.status() == STATUS


def test_local_files_that_cannot_be_sent_are_named(client: RaytideClient, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BadFile, match=r"a\.txt: suffix '\.txt' is not known"):
        client.upload_file(tmp_path / "a.txt", source="features")
    with pytest.raises(BadFile, match="format 'xml' is not known"):
        client.upload_file(tmp_path / "a.txt", source="features", format="xml")
    with pytest.raises(BadFile, match=r"b\.csv cannot be read \(No such file"):
        client.upload_file(tmp_path / "b.csv", source="features")


def test_a_file_that_vanishes_while_it_is_sent_is_not_the_gateways_fault(
    client: RaytideClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"abc")
    opened = Path.open
    calls: list[Path] = []

    def once(self: Path, *args: Any, **options: Any) -> Any:
        if self == path and calls:
            raise FileNotFoundError(2, "No such file or directory")
        calls.append(self)
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", once)
    with pytest.raises(BadFile, match="cannot be read any more"):
        client.upload_file(path, source="features")


def test_uploads_can_be_looked_up(client: RaytideClient) -> None:
    assert client.get_upload("u1") == UPLOAD
    assert client.list_uploads(2) == [UPLOAD, UPLOAD]
    assert len(client.list_uploads()) == 3
    with pytest.raises(NotFound, match="upload_id: no upload is called 'u2'"):
        client.get_upload("u2")
    with pytest.raises(Refused, match="limit: must lie"):
        client.list_uploads(-1)


# ---- admin


def test_status_arrives_as_it_was(client: RaytideClient) -> None:
    report = client.status()
    assert report == STATUS
    assert [partition.lag for partition in report.partitions] == [10, None]


def test_sql_streams_results_larger_than_a_message(twin: Twin, client: RaytideClient) -> None:
    twin.table = pa.table({"text": ["x" * 100] * 100_000, "n": range(100_000)})
    assert client.sql("SELECT 1").equals(twin.table)


def test_an_abandoned_result_frees_its_thread(twin: Twin) -> None:
    twin.table = pa.table({"text": ["x" * 1000] * 50_000})
    for address in _serving(twin, GatewayConfig(port=0, max_concurrent_calls=1)):
        with grpc.insecure_channel(address) as channel:
            call = admin_pb2_grpc.AdminServiceStub(channel).RunSql(admin_pb2.RunSqlRequest(statement="SELECT 1"))
            next(call)
            call.cancel()
            assert _eventually_status(address) == STATUS


def _eventually_status(address: str) -> StatusReport:
    deadline = time.monotonic() + 20
    with RaytideClient(address, timeout_s=20) as client:
        while True:
            try:
                return client.status()
            except RetryLater:
                if time.monotonic() > deadline:
                    raise


def test_sql_that_writes_is_refused_by_field(channel: grpc.Channel) -> None:
    stub = admin_pb2_grpc.AdminServiceStub(channel)
    code, field, text = failure(lambda: stub.RunSql(admin_pb2.RunSqlRequest(statement="DROP TABLE x"), timeout=20))
    assert (code, field, text) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "statement",
        "statement: only SELECT is allowed: this statement writes",
    )


def test_a_halted_partition_is_let_go_on(twin: Twin, client: RaytideClient) -> None:
    assert client.resume_partition("t", 1, 500) == STATUS.partitions[1]
    assert twin.asked == {"resumed": ("t", 1, 500)}
    with pytest.raises(Refused, match="allowed_rejects: must be 0 or more"):
        client.resume_partition("t", 1, -1)


def test_a_rebuild_is_followed_to_its_end(client: RaytideClient) -> None:
    assert list(client.rebuild_online()) == [STATUS.online, OnlineReport(OnlineState.OK, "", 100, 100)]


def test_a_rebuild_that_breaks_off_says_so(twin: Twin, client: RaytideClient) -> None:
    twin.trouble = RetryLater("Redis is away: start it")
    following = client.rebuild_online()
    assert next(following) == STATUS.online
    with pytest.raises(RetryLater, match="Redis is away"):
        next(following)


def test_verify_waits_as_told_and_reports(twin: Twin, client: RaytideClient) -> None:
    assert client.verify(2.5) == REPORT
    assert twin.asked == {"wait_s": 2.5, "scope": Scope.SAMPLE}
    for scope in Scope:
        client.verify(scope=scope)
        assert twin.asked == {"wait_s": 0, "scope": scope}
    with pytest.raises(Refused, match="wait_s: must be a number"):
        client.verify(-1)


def test_a_reset_is_passed_on_and_a_refusal_names_the_field(twin: Twin, client: RaytideClient) -> None:
    for request in (ResetRequest("t", 1, "latest", "me"), ResetRequest("t", 0, "0", "me", dry_run=True, expected=0)):
        assert client.reset_partition(request) == ResetAnswer(5, 9, DECLARED)
        assert twin.asked == request
    for error, message in (
        (NotFound("topic: no source reads 'x'"), "topic: no source reads"),
        (Refused("t[0] is RUNNING: it reads by itself"), r"t\[0\] is RUNNING"),
    ):
        twin.trouble = error
        with pytest.raises(type(error), match=message):
            client.reset_partition(ResetRequest("x", 1, "latest", "me"))


# ---- dead letters


def test_dead_letters_are_listed_by_filters(twin: Twin, client: RaytideClient) -> None:
    assert client.list_dead_letters() == ([LETTER], 12)
    everything = Selection("features", "u1", "bad_time", 0, NOW, replayed=False, place=Place(0, upload_id="u1"))
    client.list_dead_letters(everything, 3)
    client.list_dead_letters(Selection(replayed=True, place=Place(5, "t", 0)))
    assert twin.dead_letters.asked == [
        (Selection(), 100),
        (everything, 3),
        (Selection(replayed=True, place=Place(5, "t", 0)), 100),
    ]


@pytest.mark.parametrize(
    ("selection", "field", "error"),
    [
        (Selection("featurs"), "selection.source", NotFound),
        (Selection(reason="bad_tim"), "selection.reason", Refused),
        (Selection(place=Place(1)), "selection.place", Refused),
        (Selection(place=Place(1, "t", 0, "u1")), "selection.place", Refused),
    ],
)
def test_a_wrong_filter_is_named(client: RaytideClient, selection: Selection, field: str, error: type[Refused]) -> None:
    for call in (client.list_dead_letters, lambda s: list(client.replay_dead_letters(s))):
        with pytest.raises(error, match=field):
            call(selection)


def test_a_list_has_a_limit(client: RaytideClient) -> None:
    with pytest.raises(Refused, match="limit: must lie between"):
        client.list_dead_letters(limit=10_001)


def test_one_dead_letter_in_full(client: RaytideClient) -> None:
    found = client.get_dead_letter(LETTER.place)
    assert (found.payload, found.key, found.headers) == (b"{\xff", b"", (("id", b"1"), ("id", b"2")))
    with pytest.raises(NotFound, match="place: t/1/13 was not rejected"):
        client.get_dead_letter(Place(13, "t", 1))


def test_a_replay_is_followed_to_its_end(twin: Twin, client: RaytideClient) -> None:
    asked = Selection(reason="bad_time")
    assert list(client.replay_dead_letters(asked)) == [REPLAYED, replace(REPLAYED, note="Redis is away")]
    assert list(client.replay_dead_letters(asked, dry_run=True)) == [REPLAYED]
    assert twin.dead_letters.asked == [asked, asked]


# ---- errors, limits, health


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (NotFound("x is not there"), "NOT_FOUND", NotFound),
        (BadFile("x is bad"), "INVALID_ARGUMENT", BadFile),
        (OverLimit("x is too much"), "RESOURCE_EXHAUSTED", OverLimit),
        (Refused("x is wrong"), "FAILED_PRECONDITION", Refused),
        (Misconfigured("x is not set"), "FAILED_PRECONDITION", Misconfigured),
        (Unreachable("x is away"), "UNAVAILABLE", Unreachable),
        (RetryLater("x is busy"), "UNAVAILABLE", RetryLater),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_errors_keep_their_type_and_sentence(
    twin: Twin, client: RaytideClient, channel: grpc.Channel, *, error: RaytideError, code: str, kind: type[RaytideError]
) -> None:
    twin.trouble = error
    stub = admin_pb2_grpc.AdminServiceStub(channel)
    got = failure(lambda: [stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=20)])
    assert (got[0].name, got[1], got[2]) == (code, "", str(error))
    with pytest.raises(kind) as caught:
        client.status()
    assert type(caught.value) is kind
    assert str(caught.value) == str(error)


def test_an_unexpected_error_is_logged_and_hidden(twin: Twin, channel: grpc.Channel) -> None:
    twin.trouble = ValueError("password=hunter2")
    stub = admin_pb2_grpc.AdminServiceStub(channel)
    with structlog.testing.capture_logs() as logs:
        code, _, text = failure(lambda: [stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=20)])
    assert code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in text
    assert [(entry["event"], entry["method"]) for entry in logs] == [("call_failed", "/featurestore.v1.AdminService/GetStatus")]
    assert logs[0]["exc_info"] is twin.trouble


def test_reads_are_tried_again_when_the_gateway_was_away_for_a_moment(twin: Twin, client: RaytideClient) -> None:
    class Once(Twin):
        def status(self) -> StatusReport:
            if not self.asked:
                self.asked = {"before": True}
                raise RetryLater("the writer is restarting")
            return STATUS

    for address in _serving(Once(), GatewayConfig(port=0)):
        with RaytideClient(address) as other:
            assert other.status() == STATUS
    twin.trouble = RetryLater("the writer is restarting")
    with pytest.raises(RetryLater):
        client.status()
    assert [twin.entered.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


def test_nobody_at_the_address_is_said_with_the_next_step() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with RaytideClient(f"127.0.0.1:{port}", timeout_s=5) as client, pytest.raises(Unreachable) as caught:
            client.status()
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "raytide up" in str(caught.value)


def test_a_call_that_takes_too_long_ends_with_retry_later(twin: Twin, address: str) -> None:
    twin.gate.clear()
    with RaytideClient(address, timeout_s=0.2) as client, pytest.raises(RetryLater, match="in time"):
        client.status()


def test_calls_over_the_limit_are_refused_not_queued(twin: Twin) -> None:
    for address in _serving(twin, GatewayConfig(port=0, max_concurrent_calls=2)):
        twin.gate.clear()
        with RaytideClient(address) as client, grpc.insecure_channel(address) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            held = [stub.GetStatus.future(admin_pb2.GetStatusRequest()) for _ in range(2)]
            for _ in held:
                assert twin.entered.acquire(timeout=20)
            with pytest.raises(RetryLater, match="busy"):
                client.status()
            twin.gate.set()
            assert [call.result(timeout=20).project for call in held] == ["shop", "shop"]


def test_a_client_that_sends_nothing_is_let_go(twin: Twin) -> None:
    leave = threading.Event()

    def silent() -> Iterator[features_pb2.GetHistoricalFeaturesRequest]:
        yield from _historical(HEADER)
        leave.wait(30)

    for address in _serving(twin, GatewayConfig(port=0, default_timeout_s=1)):
        with grpc.insecure_channel(address) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                list(features_pb2_grpc.FeatureServiceStub(channel).GetHistoricalFeatures(silent(), timeout=20))
            leave.set()
        assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with structlog.testing.capture_logs() as logs:
            server = GatewayServer(GatewayConfig(port=port), every_service(Twin()))
        server.stop(0)
    assert server.port not in (0, port)
    assert [(entry["event"], entry["port"]) for entry in logs] == [("port_taken", port)]


def test_two_gateways_do_not_share_a_port() -> None:
    first = GatewayServer(GatewayConfig(port=0), every_service(Twin()))
    second = GatewayServer(GatewayConfig(port=first.port), every_service(Twin()))
    assert first.port != second.port
    first.stop(0)
    second.stop(0)


def test_a_host_that_is_not_ours_is_a_configuration_error() -> None:
    with pytest.raises(Misconfigured, match=r"192\.0\.2\.1 is not an address of this machine"):
        GatewayServer(
            GatewayConfig(host="192.0.2.1", allow_plaintext=True, plaintext_host="192.0.2.1", allow_anonymous=True),
            every_service(Twin()),
        )


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    listed = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert listed >= {*SERVICES, "grpc.health.v1.Health"}
    names = ("Ingest", "Feature", "Admin", "Registry", "Backfill")
    assert set(SERVICES) == {f"featurestore.v1.{name}Service" for name in names} | {"feast.serving.ServingService"}


def test_health_says_serving_and_then_not(twin: Twin) -> None:
    server = GatewayServer(GatewayConfig(port=0), every_service(twin))
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopping = threading.Thread(target=server.stop, args=(20,))
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        stopping.join(20)
        assert not stopping.is_alive()


STRANGER = """
import sys
import grpc
from featurestore.v1 import features_pb2, features_pb2_grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    request = features_pb2.GetOnlineFeaturesRequest(features=["user_age"], entity_ids=["1"])
    answer = features_pb2_grpc.FeatureServiceStub(channel).GetOnlineFeatures(request, timeout=20)
assert not any(name.split(".")[0] in ("cluster", "raytide", "actors") for name in sys.modules)
print(list(answer.feature_names), list(answer.vectors[0].values), list(answer.vectors[0].statuses))
"""


def test_the_generated_stubs_alone_can_call_it(twin: Twin, address: str, tmp_path: Path) -> None:
    store(twin, [("1", "user_age", 31.5, NOW)])
    protos = Path(features_pb2.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, address],
        cwd=tmp_path,
        env={"PYTHONPATH": str(protos)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("['user_age'] [31.5] [1]\n", 0), done.stderr


def test_a_backfill_is_followed_to_its_end(client: RaytideClient, twin: Twin) -> None:
    asked = Asked("clicks", 5, 9)
    told = list(client.backfill(asked))
    assert told == [
        BackfillProgress(BACKFILL, (LEFT,)),
        BackfillProgress(replace(BACKFILL, state=BackfillState.DONE), (LEFT,)),
    ]
    assert list(client.backfill(asked, dry_run=True)) == [BackfillProgress(BACKFILL, (LEFT,), dry_run=True)]
    assert twin.backfills.asked == [asked, asked]
    assert client.list_backfills(1) == [BACKFILL]
    assert client.cancel_backfill("b1") == replace(BACKFILL, state=BackfillState.STOPPED, note="cancelled")


def test_what_is_wrong_with_a_backfill_is_named(client: RaytideClient) -> None:
    with pytest.raises(NotFound, match="view: no feature view is called 'click'"):
        list(client.backfill(Asked("click", 5, 9)))
    with pytest.raises(NotFound, match="backfill_id: no backfill is called 'b2'"):
        client.cancel_backfill("b2")
    with pytest.raises(Refused, match="limit"):
        client.list_backfills(-1)
