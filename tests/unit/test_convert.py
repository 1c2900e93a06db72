"""Messages to our types and back: nothing is lost, whatever the values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from featurestore.v1 import admin_pb2, features_pb2, ingest_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.gateway import convert, convert_resets
from cluster.gateway.convert_registry import STATUSES
from cluster.gateway.failures import AtFault
from cluster.resets import ResetAnswer, ResetRequest
from cluster.serving.online import Status
from cluster.status import (
    Endpoints,
    GatewayReport,
    LimiterReport,
    OnlineReport,
    OnlineState,
    PartitionReport,
    SlotReport,
    SpoolReport,
    StatusReport,
    WriterReport,
)
from cluster.stores.ports import Upload, UploadState
from cluster.uploads.messages import CheckProgress, RejectedRow, UploadHeader, UploadProgress
from cluster.verify.report import Declared

TEXT = st.text(max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
FORMATS = st.sampled_from(["csv", "parquet", "jsonl"])

UPLOADS = st.builds(
    Upload,
    upload_id=TEXT,
    idempotency_key=TEXT,
    name=TEXT,
    source=TEXT,
    format=FORMATS,
    sha256=TEXT,
    bytes=INT64,
    state=st.sampled_from(UploadState),
    rows=INT64,
    rejected=INT64,
    error=TEXT,
    created_at=INT64,
    updated_at=INT64,
    original_kept=st.booleans(),
)
OFFSETS = st.none() | st.integers(0, 2**62)
PARTITIONS = st.builds(
    PartitionReport,
    topic=TEXT,
    partition=INT32,
    state=TEXT,
    note=TEXT,
    actor=TEXT,
    epoch=INT64,
    next_offset=OFFSETS,
    end_offset=OFFSETS,
    events=INT64,
    rejected=INT64,
    in_flight=INT32,
)
SLOTS = st.lists(st.builds(SlotReport, TEXT, TEXT, TEXT, st.floats(0, 1e9)), max_size=3).map(tuple)
REPORTS = st.builds(
    StatusReport,
    project=TEXT,
    registry_version=INT32,
    taken_at=INT64,
    endpoints=st.builds(Endpoints, TEXT, TEXT, TEXT, TEXT),
    partitions=st.lists(PARTITIONS, max_size=3).map(tuple),
    limiter=st.builds(LimiterReport, INT32, INT32, INT32, SLOTS, SLOTS),
    writer=st.builds(WriterReport, TEXT, TEXT, INT64, INT64, INT64, INT64, INT64, INT64),
    uploads=st.lists(UPLOADS, max_size=2).map(tuple),
    online=st.builds(OnlineReport, st.sampled_from(OnlineState), TEXT, INT64, INT64),
    spool=st.builds(SpoolReport, INT64, INT64, INT32, INT32),
    gateways=st.lists(st.builds(GatewayReport, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple),
)
HEADERS = st.builds(
    UploadHeader,
    name=TEXT,
    source=TEXT,
    format=FORMATS,
    size=INT64,
    sha256=TEXT,
    idempotency_key=TEXT,
    options=st.dictionaries(TEXT, TEXT, max_size=3),
    compression=st.sampled_from(["none", "gzip", "zstd"]),
    resume=st.booleans(),
    max_rejects=st.none() | INT64,
    max_reject_share=st.none() | st.floats(0, 1),
)
CHECKS = st.builds(
    CheckProgress,
    INT64,
    INT64,
    INT64,
    st.dictionaries(TEXT, INT64, max_size=3),
    st.lists(st.builds(RejectedRow, INT64, TEXT, TEXT, st.binary(max_size=8)), max_size=3).map(tuple),
    st.booleans(),
    TEXT,
)
CHECK = st.fixed_dictionaries({"name": TEXT, "checked": INT64, "offenders": INT64, "examples": st.lists(TEXT, max_size=3)})
PARTITION = st.fixed_dictionaries(
    {"topic": TEXT, "partition": INT32, "first": INT64, "next": INT64, "end": INT64, "behind": INT64},
)
DECLARED = st.builds(Declared, TEXT, INT32, INT32, INT64, st.none() | INT64, st.none() | INT64, TEXT, TEXT, INT64)
VERIFIED = st.fixed_dictionaries(
    {
        "ok": st.booleans(),
        "checks": st.lists(CHECK, max_size=3),
        "partitions": st.lists(PARTITION, max_size=3),
        "declared": st.lists(DECLARED.map(asdict), max_size=3),
    },
)


def sent(message: Any) -> Any:
    """Return a message as the other side reads it."""
    return type(message).FromString(message.SerializeToString())


@settings(max_examples=50, deadline=None)
@given(REPORTS)
def test_a_status_report_arrives_as_it_was(report: StatusReport) -> None:
    message = sent(convert.status_to_proto(report))
    assert convert.status_from_proto(message) == report
    assert [p.lag if p.HasField("lag") else None for p in message.partitions] == [p.lag for p in report.partitions]


@settings(max_examples=50, deadline=None)
@given(st.builds(UploadProgress, UPLOADS, INT64, st.none() | INT64, INT64, INT64, INT64, INT64, INT64))
def test_progress_arrives_as_it_was(progress: UploadProgress) -> None:
    assert convert.progress_from_proto(sent(convert.progress_to_proto(progress))) == progress


@settings(max_examples=50, deadline=None)
@given(HEADERS)
def test_a_header_arrives_as_it_was(header: UploadHeader) -> None:
    assert convert.header_from_proto(sent(convert.header_to_proto(header))) == header


@settings(max_examples=50, deadline=None)
@given(CHECKS)
def test_what_a_check_found_arrives_as_it_was(progress: CheckProgress) -> None:
    assert convert.check_from_proto(sent(convert.check_to_proto(progress))) == progress


@settings(max_examples=50, deadline=None)
@given(VERIFIED)
def test_a_verify_report_arrives_as_it_was(report: dict[str, Any]) -> None:
    assert convert.verify_from_proto(sent(convert.verify_to_proto(report))) == report


@settings(max_examples=50, deadline=None)
@given(
    st.builds(ResetRequest, TEXT, INT32, TEXT, TEXT, st.booleans(), st.none() | INT64), INT64, st.lists(DECLARED, max_size=3)
)
def test_a_reset_and_its_answer_arrive_as_they_were(request: ResetRequest, offset: int, declared: list[Declared]) -> None:
    assert convert_resets.request_from_proto(sent(convert_resets.request_to_proto(request))) == request
    answer = ResetAnswer(offset, offset, tuple(declared))
    assert convert_resets.answer_from_proto(sent(convert_resets.answer_to_proto(answer))) == answer


@pytest.mark.parametrize("number", [0, 4, -1, 2**31 - 1])
def test_a_format_without_a_name_is_refused(number: Any) -> None:
    with pytest.raises(AtFault, match=r"header\.format: .*choose csv, parquet, jsonl"):
        convert.header_from_proto(ingest_pb2.UploadFileHeader(format=number))


def test_every_state_status_and_format_has_its_number() -> None:
    assert set(convert.STATES.values()) == set(ingest_pb2.UploadState.values()) - {0}
    assert set(convert.COMPRESSIONS.values()) == set(ingest_pb2.Compression.values()) - {0}
    assert set(convert.FORMATS.values()) == set(ingest_pb2.FileFormat.values()) - {0}
    assert set(STATUSES.values()) == set(features_pb2.FeatureStatus.values()) - {0}
    assert set(STATUSES) == set(Status)


def test_no_message_has_a_place_for_a_password() -> None:
    names = {field.name for message in admin_pb2.DESCRIPTOR.message_types_by_name.values() for field in message.fields}
    assert not any(word in name for name in names for word in ("password", "secret", "token"))
