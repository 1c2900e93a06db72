"""A client that dies in the middle of a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import grpc
from featurestore.v1 import ingest_pb2, ingest_pb2_grpc

from cluster.gateway.arrow import CHUNK_BYTES
from raytide.local_files import LocalFile

_MOST_BYTES = 8 * 1024 * 1024
#: How long to wait, after the last byte, for the gateway's word that it arrived; it does not tell of every chunk.
_WAIT_S = 1.0


def send_a_part(address: str, file: LocalFile) -> None:
    """Send up to half of a file, give the gateway the time to take it, and hang up without a word."""
    part, hang_up = min(file.header.size // 2, _MOST_BYTES), threading.Event()

    def messages() -> Iterator[ingest_pb2.UploadFileRequest]:
        header = ingest_pb2.UploadFileHeader()
        header.CopyFrom(file.header)
        header.resume = False
        yield ingest_pb2.UploadFileRequest(header=header)
        with file.path.open("rb") as stream:
            while left := part - stream.tell():
                yield ingest_pb2.UploadFileRequest(chunk=stream.read(min(CHUNK_BYTES, left)))
        hang_up.wait(_WAIT_S)
        call.cancel()  # only the end of the stream would be a file that is too short

    with grpc.insecure_channel(address) as channel:
        call = ingest_pb2_grpc.IngestServiceStub(channel).UploadFile(messages())
        try:
            with contextlib.suppress(grpc.RpcError):
                for answer in call:
                    if answer.received >= part or answer.upload.state != ingest_pb2.UPLOAD_STATE_RECEIVING:
                        break
        finally:
            hang_up.set()
            call.cancel()
