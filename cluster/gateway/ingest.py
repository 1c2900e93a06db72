# ruff: noqa: N802 - methods are named by the protocol
"""IngestService: files in, and how far they got."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from featurestore.v1 import ingest_pb2, ingest_pb2_grpc

from cluster.errors import NotFound, Refused, RetryLater
from cluster.gateway.backend import Backend
from cluster.gateway.convert import check_to_proto, header_from_proto, progress_to_proto, upload_to_proto
from cluster.gateway.failures import AtFault, argument
from cluster.gateway.patience import Patience
from cluster.gateway.requests import take_bytes, take_header
from cluster.uploads.messages import UploadHeader

LISTED, MOST_LISTED = 100, 1000


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Thin: takes the header and leaves the rest to the upload service, which has an idle time-out of its own."""

    def __init__(self, backend: Backend, patience: Patience) -> None:
        self._backend, self._patience = backend, patience

    def UploadFile(
        self, requests: Iterator[ingest_pb2.UploadFileRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.UploadFileResponse]:
        """Receive a file and follow it until it is done."""
        header = self._header(requests, context)
        with _naming_the_field():
            for progress in self._backend.uploads.submit(header, take_bytes(requests, "chunk")):
                yield progress_to_proto(progress)

    def CheckFile(
        self, requests: Iterator[ingest_pb2.CheckFileRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.CheckFileResponse]:
        """Receive a file and say what would become of its rows."""
        header = self._header(requests, context)
        with _naming_the_field():
            for progress in self._backend.uploads.check(header, take_bytes(requests, "chunk")):
                yield check_to_proto(progress)

    def GetUpload(self, request: ingest_pb2.GetUploadRequest, _context: grpc.ServicerContext) -> ingest_pb2.GetUploadResponse:
        """Answer with one upload."""
        with argument("upload_id"):
            return ingest_pb2.GetUploadResponse(upload=upload_to_proto(self._backend.uploads.get(request.upload_id)))

    def ListUploads(
        self, request: ingest_pb2.ListUploadsRequest, _context: grpc.ServicerContext
    ) -> ingest_pb2.ListUploadsResponse:
        """Answer with the newest uploads."""
        if not 0 <= request.limit <= MOST_LISTED:
            raise AtFault("limit", Refused(f"must lie between 1 and {MOST_LISTED}, or be 0 for {LISTED}"))
        found = self._backend.uploads.listed(request.limit or LISTED)
        return ingest_pb2.ListUploadsResponse(uploads=[upload_to_proto(upload) for upload in found])

    def WatchUpload(
        self, request: ingest_pb2.WatchUploadRequest, context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.WatchUploadResponse]:
        """Follow one upload to its end."""
        with _unknown_id():
            for progress in self._backend.uploads.watch(request.upload_id, context.is_active):
                yield ingest_pb2.WatchUploadResponse(progress=progress_to_proto(progress))

    def CancelUpload(
        self, request: ingest_pb2.CancelUploadRequest, _context: grpc.ServicerContext
    ) -> ingest_pb2.CancelUploadResponse:
        """Stop one upload."""
        with _unknown_id():
            return ingest_pb2.CancelUploadResponse(upload=upload_to_proto(self._backend.uploads.cancel(request.upload_id)))

    def RetryUpload(
        self, request: ingest_pb2.RetryUploadRequest, _context: grpc.ServicerContext
    ) -> ingest_pb2.RetryUploadResponse:
        """Let one upload be worked on again."""
        with _unknown_id():
            return ingest_pb2.RetryUploadResponse(upload=upload_to_proto(self._backend.uploads.retry(request.upload_id)))

    def _header(self, requests: Iterator[Any], context: grpc.ServicerContext) -> UploadHeader:
        header = header_from_proto(take_header(self._patience.messages(requests, context)))
        with argument("header.source"):
            self._backend.catalog().source(header.source)
        return header


@contextlib.contextmanager
def _unknown_id() -> Iterator[None]:
    """Let an id that nobody knows name its field; what is refused for the upload's state is no fault of an argument."""
    try:
        yield
    except NotFound as error:
        raise AtFault("upload_id", error) from None


@contextlib.contextmanager
def _naming_the_field() -> Iterator[None]:
    """Let a refusal whose sentence starts with a field of the header, as the upload service writes them, name it.

    The service tells of a stream that broke off with RetryLater; when the cause was a wrong message, that is the error.
    """
    try:
        yield
    except RetryLater as error:
        if isinstance(error.__cause__, AtFault):
            raise error.__cause__ from None
        raise
    except Refused as error:
        field, _, sentence = str(error).partition(": ")
        if field in ingest_pb2.UploadFileHeader.DESCRIPTOR.fields_by_name:
            raise AtFault(f"header.{field}", type(error)(sentence)) from None
        raise
