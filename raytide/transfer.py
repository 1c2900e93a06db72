"""The client's half of an upload: what a file is, and its bytes as messages."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import grpc
from featurestore.v1 import ingest_pb2

from cluster.errors import BadFile
from cluster.gateway.arrow import CHUNK_BYTES
from cluster.gateway.convert import FORMATS, header_to_proto
from cluster.uploads.messages import UploadHeader

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


def describe(path: Path, source: str, file_format: str | None, idempotency_key: str | None) -> UploadHeader:
    """Return the header for a file, reading it once for its checksum.

    Without a key, one is made of source, name and content. Raise BadFile when the file cannot be read or its format is
    not known.
    """
    kind = _format(path, file_format)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read ({error.strerror}): nothing was sent") from error
    name = path.name.encode(errors="replace").decode()  # a name on disk may be no text at all
    key = idempotency_key or hashlib.sha256(f"{source}\n{name}\n{digest}".encode()).hexdigest()
    return UploadHeader(name=name, source=source, format=kind, size=size, sha256=digest, idempotency_key=key)


class FileMessages:
    """The messages of one transfer, for gRPC to take from a thread of its own."""

    def __init__(self, path: Path, header: UploadHeader) -> None:
        self._path, self._header = path, header
        self._failure: OSError | None = None

    @property
    def size(self) -> int:
        """Return the file's size in bytes, as announced."""
        return self._header.size

    def __iter__(self) -> Iterator[ingest_pb2.UploadFileRequest]:
        yield ingest_pb2.UploadFileRequest(header=header_to_proto(self._header))
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield ingest_pb2.UploadFileRequest(chunk=chunk)
        except OSError as error:
            self._failure = error
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raise BadFile when the call inside failed because the file could not be read, which gRPC keeps to itself."""
        try:
            yield
        except grpc.RpcError:
            if self._failure is None:
                raise
            name, cause = self._header.name, self._failure.strerror
            raise BadFile(f"{name} cannot be read any more ({cause}): the transfer was broken off") from self._failure


def _format(path: Path, file_format: str | None) -> str:
    found = file_format or SUFFIXES.get(path.suffix.lower(), "")
    if found not in FORMATS:
        wanted = f"format '{file_format}'" if file_format else f"suffix '{path.suffix}'"
        raise BadFile(f"{path.name}: {wanted} is not known: name the format, one of {', '.join(FORMATS)}")
    return found
