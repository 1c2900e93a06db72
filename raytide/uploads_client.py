"""The client's half of files: sent, followed, tried out, cancelled."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

from featurestore.v1 import ingest_pb2, ingest_pb2_grpc

from cluster.errors import RaytideError, Refused
from cluster.gateway.convert import upload_from_proto
from raytide.answers import CheckView, FileResult, UploadProgressView, UploadView
from raytide.calls import Calls
from raytide.file_calls import PATIENCE_S, FileCalls
from raytide.local_files import FileOptions, describe
from raytide.perseverance import Breaking, Contact

PARALLEL = 4


class UploadsClient:
    """What a `RaytideClient` can do with files."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._uploads = ingest_pb2_grpc.IngestServiceStub(calls.channel)
        self._contact = Contact()

    def upload_file(
        self,
        path: Path,
        *,
        source: str,
        idempotency_key: str | None = None,
        patience_s: float = PATIENCE_S,
        progress: Callable[[UploadProgressView], None] | None = None,
        **options: Unpack[FileOptions],
    ) -> UploadView:
        """Send a file, follow it to the end, and return how it ended: `state` DONE, or FAILED or CANCELLED with `error`.

        A transfer that is cut goes on where the gateway has it, also when this is called again after an error; it is given
        up when nothing more arrived for `patience_s`. The same bytes under the same key (left out: made of source, name and
        content) are taken once. `progress` is called for every word of the gateway. `options` are those of `FileOptions`.
        Raise BadFile when the file cannot be read, changes meanwhile, or was refused before it was an upload.
        """
        file = describe(Path(path), source, options, idempotency_key)
        return _last(self._file_calls(Breaking()).send(file, patience_s), progress)

    def upload_files(
        self,
        paths: Iterable[Path],
        *,
        source: str,
        parallel: int = PARALLEL,
        idempotency_key: str | None = None,
        patience_s: float = PATIENCE_S,
        progress: Callable[[Path, UploadProgressView], None] | None = None,
        **options: Unpack[FileOptions],
    ) -> Iterator[FileResult]:
        """Send files, `parallel` of them at once, and yield what became of each, in the order of `paths`.

        A file that fails does not stop the others. Abandoning the iterator breaks off what is being sent; called again, that
        goes on where it stopped. `progress` is called from several threads; a key is for a single file. `upload_file` says
        the rest.
        """
        files = [Path(path) for path in paths]
        if parallel < 1:
            raise Refused(f"parallel is {parallel}: at least one file has to be sent at once")
        if idempotency_key and len(files) > 1:
            raise Refused(f"a key stands for one file, and there are {len(files)}: leave it out, keys are made of content")
        breaking = Breaking()
        calls = self._file_calls(breaking)

        def result(path: Path) -> FileResult:
            tell = functools.partial(progress, path) if progress else None
            try:
                return FileResult(path, _last(calls.send(describe(path, source, options, idempotency_key), patience_s), tell))
            except RaytideError as error:
                return FileResult(path, None, error)

        with ThreadPoolExecutor(parallel, thread_name_prefix="upload") as pool:
            results = [pool.submit(result, path) for path in files]
            try:
                for future in results:
                    yield future.result()
            finally:
                breaking.now()
                pool.shutdown(wait=False, cancel_futures=True)

    def check_file(
        self,
        path: Path,
        *,
        source: str,
        patience_s: float = PATIENCE_S,
        progress: Callable[[CheckView], None] | None = None,
        **options: Unpack[FileOptions],
    ) -> CheckView:
        """Send a file to be tried out, and return what would become of its rows; nothing is stored.

        A check that is cut begins again. Raise as `upload_file` does.
        """
        file = describe(Path(path), source, options)
        last = CheckView(0, file.header.size, 0, 0)
        for last in self._file_calls(Breaking()).check(file, patience_s):
            if progress is not None:
                progress(last)
        return last

    def get_upload(self, upload_id: str) -> UploadView:
        """Return how far a file got; raise NotFound."""
        answer = self._calls.read(self._uploads.GetUpload, ingest_pb2.GetUploadRequest(upload_id=upload_id))
        return upload_from_proto(answer.upload)

    def list_uploads(self, limit: int = 100) -> list[UploadView]:
        """Return the newest files, newest first."""
        answer = self._calls.read(self._uploads.ListUploads, ingest_pb2.ListUploadsRequest(limit=limit))
        return [upload_from_proto(upload) for upload in answer.uploads]

    def watch_upload(self, upload_id: str, *, patience_s: float = PATIENCE_S) -> Iterator[UploadProgressView]:
        """Yield how far a file is, whoever sent it, until it is DONE, FAILED or CANCELLED; raise NotFound.

        A connection that is cut is made again. Abandoning the iterator changes nothing for the file.
        """
        return self._file_calls(Breaking()).watch(upload_id, patience_s)

    def cancel_upload(self, upload_id: str) -> UploadView:
        """Stop a file of which nothing is in history yet, and return it; raise NotFound, or Refused when that is too late."""
        answer = self._calls.read(self._uploads.CancelUpload, ingest_pb2.CancelUploadRequest(upload_id=upload_id))
        return upload_from_proto(answer.upload)

    def retry_upload(self, upload_id: str) -> UploadView:
        """Have a FAILED or CANCELLED file worked on again from the bytes that the server kept, and return it.

        Follow it with `watch_upload`. Raise NotFound, or Refused when it did not fail or its bytes are gone.
        """
        answer = self._calls.once(self._uploads.RetryUpload, ingest_pb2.RetryUploadRequest(upload_id=upload_id))
        return upload_from_proto(answer.upload)

    def _file_calls(self, breaking: Breaking) -> FileCalls:
        return FileCalls(self._uploads, self._calls.address, self._contact, breaking)


def _last(words: Generator[UploadProgressView], progress: Callable[[UploadProgressView], None] | None) -> UploadView:
    """Take the gateway's words about a file, passing them on; return the file as the last one has it."""
    with contextlib.closing(words):
        for view in words:
            last = view.upload
            if progress is not None:
                progress(view)
    return last
