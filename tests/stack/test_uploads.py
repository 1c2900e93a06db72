"""Transfers on real parts: cut by a killed gateway and resumed, cancelled in the middle, retried, watched, checked, packed."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from featurestore.v1 import admin_pb2, admin_pb2_grpc, ingest_pb2, ingest_pb2_grpc

from tests.stack.conftest import RunningApp
from tests.stack.test_dead_letters import gateway_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(420), pytest.mark.long]

CHUNK = 256 * 1024
HEADER = b"entity_id,feature_name,value,validated_at\n"


def content_of(marker: str, rows: int) -> bytes:
    """Return a CSV of the demo's long source, every hundredth row of which is bad."""
    lines = (f"up-{marker}-{n % 500},account_balance,{'x' if n % 100 == 99 else n},2026-01-01T00:00:00Z" for n in range(rows))
    return HEADER + "\n".join(lines).encode() + b"\n"


def header_of(content: bytes, **more: Any) -> ingest_pb2.UploadFileHeader:
    return ingest_pb2.UploadFileHeader(
        name="history.csv",
        source="features",
        format=ingest_pb2.FILE_FORMAT_CSV,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        **more,
    )


def messages(kind: Any, header: ingest_pb2.UploadFileHeader, content: bytes) -> Iterator[Any]:
    yield kind(header=header)
    for at in range(0, len(content), CHUNK):
        yield kind(chunk=content[at : at + CHUNK])


@pytest.fixture
def stub(app: RunningApp) -> Iterator[Any]:
    with grpc.insecure_channel(app.remembered()["gateway"]) as channel:
        yield ingest_pb2_grpc.IngestServiceStub(channel)


def until_answered(call: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_a_transfer_goes_on_after_the_gateway_was_killed(app: RunningApp, stub: Any) -> None:
    content = content_of("resumed", 60_000)
    half = len(content) // 2

    def first_half() -> Iterator[Any]:
        yield from messages(ingest_pb2.UploadFileRequest, header_of(content), content[:half])
        time.sleep(5)  # the connection stays until the gateway is gone

    call = stub.UploadFile(first_half(), timeout=60)
    upload_id = next(call).upload.upload_id
    part = app.folder / ".raytide" / "spool" / f"{upload_id}.part"
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < half // 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(gateway_of(app), signal.SIGKILL)
    with pytest.raises(grpc.RpcError):
        list(call)

    def resumed() -> list[Any]:
        received: list[int] = []

        def rest() -> Iterator[Any]:
            yield ingest_pb2.UploadFileRequest(header=header_of(content, resume=True))
            while not received:
                time.sleep(0.01)
            for at in range(received[0], len(content), CHUNK):
                yield ingest_pb2.UploadFileRequest(chunk=content[at : at + CHUNK])

        answers = []
        for answer in stub.UploadFile(rest(), timeout=120):
            received.append(answer.received)
            answers.append(answer)
        return answers

    answers = until_answered(resumed)
    assert answers[0].received >= half // 2
    last = answers[-1]
    assert (last.upload.upload_id, last.upload.state) == (upload_id, ingest_pb2.UPLOAD_STATE_DONE)
    assert (last.upload.rows, last.upload.rejected, last.upload.original_kept) == (59_400, 600, True)
    assert (last.rows_validated, last.rows_rejected) == (59_400, 600)
    app.verify()


def test_a_file_is_cancelled_watched_and_retried(app: RunningApp, stub: Any) -> None:
    content = content_of("cancelled", 600_000)  # about 30 MB: several pieces
    call = stub.UploadFile(messages(ingest_pb2.UploadFileRequest, header_of(content), content), timeout=200)
    for answer in call:
        if answer.upload.state == ingest_pb2.UPLOAD_STATE_PROCESSING:
            break
    upload_id = answer.upload.upload_id
    cancelled = stub.CancelUpload(ingest_pb2.CancelUploadRequest(upload_id=upload_id), timeout=60).upload
    assert (cancelled.state, cancelled.original_kept) == (ingest_pb2.UPLOAD_STATE_CANCELLED, True)
    assert list(call)[-1].upload.state == ingest_pb2.UPLOAD_STATE_CANCELLED
    app.verify()
    until_answered(lambda: stub.RetryUpload(ingest_pb2.RetryUploadRequest(upload_id=upload_id), timeout=60))
    last = list(stub.WatchUpload(ingest_pb2.WatchUploadRequest(upload_id=upload_id), timeout=200))[-1].progress
    assert (last.upload.state, last.upload.rows, last.upload.rejected) == (ingest_pb2.UPLOAD_STATE_DONE, 594_000, 6_000)
    with pytest.raises(grpc.RpcError) as refused:
        stub.CancelUpload(ingest_pb2.CancelUploadRequest(upload_id=upload_id), timeout=60)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    app.verify()


def test_a_packed_file_is_checked_refused_and_taken(app: RunningApp, stub: Any) -> None:
    content = gzip.compress(content_of("packed", 20_000))
    packed = {"compression": ingest_pb2.COMPRESSION_GZIP}
    *_, found = stub.CheckFile(messages(ingest_pb2.CheckFileRequest, header_of(content, **packed), content), timeout=120)
    assert (found.done, found.rows, found.rejected, dict(found.reasons)) == (True, 19_800, 200, {"wrong_type": 200})
    assert [row.row for row in found.examples] == list(range(99, 2000, 100))
    limited = header_of(content, **packed, max_reject_share=0.001)
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.UploadFile(messages(ingest_pb2.UploadFileRequest, limited, content), timeout=120))
    assert "max_reject_share" in str(refused.value.details())
    again = header_of(content, **packed, max_rejects=200, resume=True)
    *_, last = stub.UploadFile(messages(ingest_pb2.UploadFileRequest, again, b""), timeout=120)
    assert (last.upload.state, last.upload.rows) == (ingest_pb2.UPLOAD_STATE_DONE, 19_800)
    with grpc.insecure_channel(app.remembered()["gateway"]) as channel:
        status = admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=30)
    assert status.spool.files >= 1
    assert status.spool.receiving == 0
    app.verify()
