# ruff: noqa: N802 - methods are named by the protocol
"""IngestService: files in, and how far they got."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from featurestore.v1 import ingest_pb2, ingest_pb2_grpc

from cluster.errors import Refused, RetryLater
from cluster.gateway.backend import Backend
from cluster.gateway.convert import header_from_proto, progress_to_proto, upload_to_proto
from cluster.gateway.failures import AtFault, argument
from cluster.gateway.patience import Patience
from cluster.gateway.requests import take_bytes, take_header

LISTED, MOST_LISTED = 100, 1000


class IngestService(ingest_pb2_grpc.IngestServiceServicer):
    """Thin: takes the header and leaves the rest to the upload service, which has an idle time-out of its own."""

    def __init__(self, backend: Backend, patience: Patience) -> None:
        self._backend, self._patience = backend, patience

    def UploadFile(
        self, requests: Iterator[ingest_pb2.UploadFileRequest], context: grpc.ServicerContext
    ) -> Iterator[ingest_pb2.UploadFileResponse]:
        """Receive a file and follow it until it is done."""
        header = header_from_proto(take_header(self._patience.messages(requests, context)))
        with argument("header.source"):
            self._backend.catalog().source(header.source)
        with _naming_the_field():
            for progress in self._backend.uploads.submit(header, take_bytes(requests, "chunk")):
                yield progress_to_proto(progress)

    def GetUpload(self, request: ingest_pb2.GetUploadRequest, _context: grpc.ServicerContext) -> ingest_pb2.GetUploadResponse:
        """Answer with one upload."""
        with argument("upload_id"):
            return ingest_pb2.GetUploadResponse(upload=upload_to_proto(self._backend.offline.get_upload(request.upload_id)))

    def ListUploads(
        self, request: ingest_pb2.ListUploadsRequest, _context: grpc.ServicerContext
    ) -> ingest_pb2.ListUploadsResponse:
        """Answer with the newest uploads."""
        if not 0 <= request.limit <= MOST_LISTED:
            raise AtFault("limit", Refused(f"must lie between 1 and {MOST_LISTED}, or be 0 for {LISTED}"))
        found = self._backend.offline.list_uploads(request.limit or LISTED)
        return ingest_pb2.ListUploadsResponse(uploads=[upload_to_proto(upload) for upload in found])


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
