"""A gateway for files in memory: a real gRPC server that follows the protocol, and goes wrong on request."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from featurestore.v1 import ingest_pb2, ingest_pb2_grpc
from grpc_status import rpc_status

from cluster.errors import BadFile, NotFound, RaytideError, Refused
from cluster.gateway.failures import to_status

RECEIVING, STORED, PROCESSING = (
    ingest_pb2.UPLOAD_STATE_RECEIVING,
    ingest_pb2.UPLOAD_STATE_STORED,
    ingest_pb2.UPLOAD_STATE_PROCESSING,
)
DONE, FAILED, CANCELLED = ingest_pb2.UPLOAD_STATE_DONE, ingest_pb2.UPLOAD_STATE_FAILED, ingest_pb2.UPLOAD_STATE_CANCELLED


class Trouble(Exception):
    """Ends a call with a code of gRPC's own, as a connection does that is lost."""

    def __init__(self, code: grpc.StatusCode, details: str = "socket closed") -> None:
        super().__init__(code, details)
        self.code, self.details = code, details


@dataclass
class Kept:
    """What is there of a file."""

    upload: ingest_pb2.Upload
    content: bytearray = field(default_factory=bytearray)


class UploadGateway(ingest_pb2_grpc.IngestServiceServicer):
    """Takes files by key, and remembers what it was asked."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self.lock = threading.Lock()
        #: Cut transfers once so many bytes of a file are there; each entry is used once.
        self.cut_at: list[int] = []
        #: Raised at the beginning of calls that send a file, one each.
        self.refusals: list[Exception] = []
        #: Raised in place of a file's words after its last chunk, one each.
        self.cut_after_all: list[Exception] = []
        #: Called with each chunk's file.
        self.at_chunk: Callable[[Kept], None] = lambda _kept: None
        #: What files end as, and with which error.
        self.end: tuple[ingest_pb2.UploadState, str] = (DONE, "")
        #: Rows and rejected rows that files end with.
        self.counts: tuple[int, int] = (9, 1)
        #: Take a file again that is DONE.
        self.forgets = False
        self.headers: list[ingest_pb2.UploadFileHeader] = []
        self.calls: list[str] = []
        self.chunk_sizes: list[int] = []
        self.most_at_once = 0
        self._at_once = 0
        self._ids = itertools.count(1)
        self.check: ingest_pb2.CheckFileResponse = ingest_pb2.CheckFileResponse(rows=3, done=True)
        self.checked: list[bytes] = []

    def UploadFile(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Receive, then follow."""
        with self._call("UploadFile", context):
            header = next(requests).header
            self.headers.append(header)
            kept = self._known(header)
            yield self._word(kept)
            if kept.upload.state == RECEIVING:
                yield from self._receive(kept, requests)
            yield from self._work(kept)

    def WatchUpload(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Follow."""
        with self._call("WatchUpload", context):
            kept = self._found(request.upload_id)
            for word in self._work(kept):
                yield ingest_pb2.WatchUploadResponse(progress=word)

    def CheckFile(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Take the bytes and answer what is set."""
        with self._call("CheckFile", context):
            header = next(requests).header
            self.headers.append(header)
            content = b"".join(request.chunk for request in requests)
            self.checked.append(content)
            yield ingest_pb2.CheckFileResponse(received=len(content))
            self.check.received = len(content)
            yield self.check

    def GetUpload(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answer with one."""
        with self._call("GetUpload", context):
            return ingest_pb2.GetUploadResponse(upload=self._found(request.upload_id).upload)

    def ListUploads(self, _request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Answer with all."""
        with self._call("ListUploads", context):
            return ingest_pb2.ListUploadsResponse(uploads=[kept.upload for kept in self.kept.values()])

    def CancelUpload(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Cancel what is not in history."""
        with self._call("CancelUpload", context):
            kept = self._found(request.upload_id)
            if kept.upload.state in {DONE, FAILED}:
                raise Refused(f"{request.upload_id} has ended: there is nothing to cancel")
            kept.upload.state = CANCELLED
            return ingest_pb2.CancelUploadResponse(upload=kept.upload)

    def RetryUpload(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Work on a file again."""
        with self._call("RetryUpload", context):
            kept = self._found(request.upload_id)
            if kept.upload.state not in {FAILED, CANCELLED}:
                raise Refused(f"{request.upload_id} did not fail: there is nothing to do again")
            kept.upload.state, kept.upload.error = STORED, ""
            return ingest_pb2.RetryUploadResponse(upload=kept.upload)

    def add(self, upload_id: str, state: ingest_pb2.UploadState, content: bytes = b"abc") -> None:
        """Have a file from before."""
        upload = ingest_pb2.Upload(
            upload_id=upload_id,
            idempotency_key=upload_id,
            name="old.csv",
            source="orders",
            format=ingest_pb2.FILE_FORMAT_CSV,
            size=len(content),
            state=state,
        )
        self.kept[upload_id] = Kept(upload, bytearray(content))

    def _known(self, header: ingest_pb2.UploadFileHeader) -> Kept:
        with self.lock:
            kept = self.kept.get(header.idempotency_key)
            if kept is not None and kept.upload.state == RECEIVING and not header.resume:
                kept.content.clear()
            again = {FAILED, CANCELLED, *([DONE] if self.forgets else [])}
            if kept is None or kept.upload.state in again:
                upload = ingest_pb2.Upload(
                    upload_id=f"u{next(self._ids)}",
                    idempotency_key=header.idempotency_key,
                    name=header.name,
                    source=header.source,
                    format=header.format,
                    sha256=header.sha256,
                    size=header.size,
                    state=RECEIVING,
                )
                kept = self.kept[header.idempotency_key] = Kept(upload)
            return kept

    def _receive(self, kept: Kept, requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            self.chunk_sizes.append(len(request.chunk))
            kept.content += request.chunk
            self.at_chunk(kept)
            yield self._word(kept)
            if self.cut_at and len(kept.content) >= self.cut_at[0]:
                self.cut_at.pop(0)
                raise Trouble(grpc.StatusCode.UNAVAILABLE)
        if len(kept.content) < kept.upload.size:
            raise Trouble(grpc.StatusCode.UNAVAILABLE, "the client ended too early")
        good = hashlib.sha256(kept.content).hexdigest() == kept.upload.sha256
        kept.upload.state = STORED if good else FAILED
        kept.upload.error = "" if good else "sha256: differs"

    def _work(self, kept: Kept) -> Iterator[Any]:
        yield self._word(kept)
        if kept.upload.state in {DONE, FAILED, CANCELLED}:
            return
        if self.cut_after_all:
            raise self.cut_after_all.pop(0)
        kept.upload.state = PROCESSING
        yield self._word(kept, pieces_total=2, pieces_done=1, pieces_split=2, rows_validated=5, rows_rejected=1)
        kept.upload.state, kept.upload.error = self.end
        (kept.upload.rows, kept.upload.rejected), kept.upload.original_kept = self.counts, True
        yield self._word(
            kept, pieces_total=2, pieces_done=2, pieces_split=2, rows_validated=9, rows_rejected=1, values_online=4
        )
        if kept.upload.state == FAILED:
            raise BadFile(kept.upload.error)

    def _word(self, kept: Kept, **more: int) -> ingest_pb2.UploadFileResponse:
        return ingest_pb2.UploadFileResponse(upload=kept.upload, received=len(kept.content), **more)

    def _found(self, upload_id: str) -> Kept:
        for kept in self.kept.values():
            if kept.upload.upload_id == upload_id:
                return kept
        raise NotFound(f"upload_id: no upload is called '{upload_id}'")

    @contextlib.contextmanager
    def _call(self, name: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Count a call, and end it with what is raised inside, as the gateway's own edge does."""
        with self.lock:
            self.calls.append(name)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.refusals and name in {"UploadFile", "CheckFile"}:
                raise self.refusals.pop(0)
            yield
        except Trouble as trouble:
            context.abort(trouble.code, trouble.details)
        except RaytideError as error:
            context.abort_with_status(rpc_status.to_status(to_status(error)))
        finally:
            with self.lock:
                self._at_once -= 1


@contextlib.contextmanager
def serving(gateway: UploadGateway, port: int = 0) -> Iterator[str]:
    """Give the address of a server with this gateway."""
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
