"""The long calls about one file: sent, tried out, watched; each taken up again when it is cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import grpc
from featurestore.v1 import ingest_pb2, ingest_pb2_grpc

from cluster.errors import Refused, RetryLater
from cluster.gateway.convert import upload_from_proto
from cluster.gateway.failures import from_call
from cluster.stores.ports import UploadState
from raytide.answers import CheckView, RejectedRowView, UploadProgressView
from raytide.local_files import LocalFile
from raytide.perseverance import Breaking, Contact, Perseverance
from raytide.transfer import FileMessages

#: How long a file may be in trouble without getting further.
PATIENCE_S = 60.0
#: All bytes are at the gateway, which works on them.
ARRIVED = frozenset({UploadState.STORED, UploadState.PROCESSING, UploadState.COMMITTED})
ENDED = frozenset({UploadState.DONE, UploadState.FAILED, UploadState.CANCELLED})


class FileCalls:
    """Makes calls to the gateway at `address` until `breaking` ends them; `contact` is what is known of it."""

    def __init__(self, stub: ingest_pb2_grpc.IngestServiceStub, address: str, contact: Contact, breaking: Breaking) -> None:
        self._stub, self._address, self._contact, self._breaking = stub, address, contact, breaking

    def send(self, file: LocalFile, patience_s: float) -> Generator[UploadProgressView]:
        """Send a file from where the gateway has it, and yield its words until it ended.

        Once all of it arrived, a cut call is followed by watching. Raise BadFile when the file cannot be read or changed,
        what the gateway refuses, and RetryLater when the patience is at its end.
        """
        perseverance, last = self._perseverance(patience_s), None
        for attempt in perseverance.attempts():
            with attempt:
                arrived = last is not None and last.upload.state in ARRIVED
                words = self._watched(last.upload.upload_id) if last is not None and arrived else self._sent(file)
                with contextlib.closing(words):
                    for last in words:
                        perseverance.heard((last.received, last.pieces_done))
                        yield last
                self._must_have_ended(last)

    def watch(self, upload_id: str, patience_s: float) -> Iterator[UploadProgressView]:
        """Yield the gateway's words about a file until it ended; raise NotFound."""
        perseverance, last = self._perseverance(patience_s), None
        for attempt in perseverance.attempts():
            with attempt, contextlib.closing(self._watched(upload_id)) as words:
                for last in words:
                    perseverance.heard((last.received, last.pieces_done))
                    yield last
                self._must_have_ended(last)

    def check(self, file: LocalFile, patience_s: float) -> Iterator[CheckView]:
        """Send a file to be tried out and yield what is known, `done` last; a call that is cut begins again."""
        perseverance, last = self._perseverance(patience_s), None
        for attempt in perseverance.attempts():
            with attempt, contextlib.closing(self._checked(file)) as words:
                for last in words:
                    perseverance.heard((0, 0))
                    yield last
                if last is None or not last.done:
                    raise self._silence()

    def _sent(self, file: LocalFile) -> Generator[UploadProgressView]:
        messages = FileMessages(file, ingest_pb2.UploadFileRequest)
        with self._calling(self._stub.UploadFile, messages) as call:
            first = True
            for view in _words(call):
                if first and view.upload.state is UploadState.RECEIVING:
                    messages.send_from(view.received, call)
                elif first:
                    messages.close()
                first = False
                yield view

    def _watched(self, upload_id: str) -> Generator[UploadProgressView]:
        with self._calling(self._stub.WatchUpload, ingest_pb2.WatchUploadRequest(upload_id=upload_id)) as call:
            yield from _words(answer.progress for answer in call)

    def _checked(self, file: LocalFile) -> Generator[CheckView]:
        messages = FileMessages(file, ingest_pb2.CheckFileRequest)
        with self._calling(self._stub.CheckFile, messages) as call:
            messages.send_from(0, call)
            for answer in call:
                yield _check(answer, file.header.size)

    @contextlib.contextmanager
    def _calling(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """Make a call, end it in any case, and raise what it failed with as the error of ours that it means."""
        messages = request if isinstance(request, FileMessages) else None
        try:
            call = method(request if messages is None else iter(messages))
        except ValueError:  # gRPC's word for a channel that was closed
            raise Refused(f"the connection to {self._address} was closed by this program: make a new client") from None
        try:
            with self._breaking.ends(call):
                yield call
        except grpc.RpcError as error:
            if messages is not None and messages.failure is not None:
                raise messages.failure from None
            raise from_call(error, self._address) from None
        finally:
            if messages is not None:
                messages.close()
            call.cancel()

    def _must_have_ended(self, last: UploadProgressView | None) -> None:
        if last is None or last.upload.state not in ENDED:
            raise self._silence()

    def _silence(self) -> RetryLater:
        return RetryLater(f"{self._address} ended the call without saying what became of the file: send it again")

    def _perseverance(self, patience_s: float) -> Perseverance:
        return Perseverance(patience_s, self._contact, self._breaking)


def _words(answers: Iterable[Any]) -> Iterator[UploadProgressView]:
    """Yield the words about a file; once it ended, how the call ends says nothing new: a failed file's call fails too."""
    view = None
    try:
        for answer in answers:
            yield (view := _progress(answer))
    except grpc.RpcError:
        if view is None or view.upload.state not in ENDED:
            raise


def _progress(answer: ingest_pb2.UploadFileResponse) -> UploadProgressView:
    upload = upload_from_proto(answer.upload)
    return UploadProgressView(
        upload=upload,
        received=answer.received,
        size=upload.bytes,
        pieces_total=answer.pieces_total if answer.HasField("pieces_total") else None,
        pieces_done=answer.pieces_done,
        pieces_split=answer.pieces_split,
        rows_validated=answer.rows_validated,
        rows_rejected=answer.rows_rejected,
        values_online=answer.values_online,
    )


def _check(answer: ingest_pb2.CheckFileResponse, size: int) -> CheckView:
    return CheckView(
        received=answer.received,
        size=size,
        rows=answer.rows,
        rejected=answer.rejected,
        reasons=dict(answer.reasons),
        examples=tuple(RejectedRowView(e.row, e.reason, e.detail, e.raw) for e in answer.examples),
        done=answer.done,
        error=answer.error,
    )
