# ruff: noqa: N802 - methods are named by the protocol
"""AdminService: status, SQL, verify, rebuilding the online store, dead letters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import grpc
from featurestore.v1 import admin_pb2, admin_pb2_grpc

from cluster.errors import Refused
from cluster.gateway.arrow import to_chunks
from cluster.gateway.backend import Backend
from cluster.gateway.convert import online_to_proto, partition_to_proto, scope_from_proto, status_to_proto, verify_to_proto
from cluster.gateway.convert_letters import letter_to_proto, place_from_proto, replay_to_proto, selection_from_proto
from cluster.gateway.convert_resets import answer_to_proto, request_from_proto
from cluster.gateway.failures import AtFault, argument

LISTED, MOST_LISTED = 100, 10_000


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Thin: asks the backend and puts the answer into messages."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def GetStatus(self, _request: admin_pb2.GetStatusRequest, _context: grpc.ServicerContext) -> admin_pb2.GetStatusResponse:
        """Answer with what every part is doing."""
        return status_to_proto(self._backend.status())

    def RunSql(self, request: admin_pb2.RunSqlRequest, _context: grpc.ServicerContext) -> Iterator[admin_pb2.RunSqlResponse]:
        """Run a statement and send its result in chunks."""
        with argument("statement"):
            table = self._backend.offline.sql(request.statement)
        for chunk in to_chunks(table):
            yield admin_pb2.RunSqlResponse(arrow=chunk)

    def Verify(self, request: admin_pb2.VerifyRequest, _context: grpc.ServicerContext) -> admin_pb2.VerifyResponse:
        """Compare everything and report."""
        if not (math.isfinite(request.wait_s) and request.wait_s >= 0):
            raise AtFault("wait_s", Refused("must be a number of seconds, 0 or more"))
        return verify_to_proto(self._backend.verify(request.wait_s, scope_from_proto(request.scope)))

    def RebuildOnline(
        self, _request: admin_pb2.RebuildOnlineRequest, _context: grpc.ServicerContext
    ) -> Iterator[admin_pb2.RebuildOnlineResponse]:
        """Ask for it and follow it to its end."""
        for report in self._backend.rebuild_online():
            yield admin_pb2.RebuildOnlineResponse(online=online_to_proto(report))

    def ListDeadLetters(
        self, request: admin_pb2.ListDeadLettersRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ListDeadLettersResponse:
        """Answer with the newest of a selection."""
        if not 0 <= request.limit <= MOST_LISTED:
            raise AtFault("limit", Refused(f"must lie between 1 and {MOST_LISTED}, or be 0 for {LISTED}"))
        with _naming_the_filter():
            letters, total = self._backend.dead_letters.listed(selection_from_proto(request.selection), request.limit or LISTED)
        return admin_pb2.ListDeadLettersResponse(letters=[letter_to_proto(letter) for letter in letters], total=total)

    def GetDeadLetter(
        self, request: admin_pb2.GetDeadLetterRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.GetDeadLetterResponse:
        """Answer with one in full."""
        with argument("place"):
            letter = self._backend.dead_letters.in_full(place_from_proto(request.place))
        return admin_pb2.GetDeadLetterResponse(letter=letter_to_proto(letter))

    def ReplayDeadLetters(
        self, request: admin_pb2.ReplayDeadLettersRequest, _context: grpc.ServicerContext
    ) -> Iterator[admin_pb2.ReplayDeadLettersResponse]:
        """Replay, or only try, and follow it to its end."""
        letters, selection = self._backend.dead_letters, selection_from_proto(request.selection)
        with _naming_the_filter():
            for progress in letters.try_out(selection) if request.dry_run else letters.replay(selection):
                yield replay_to_proto(progress)

    def ResumePartition(
        self, request: admin_pb2.ResumePartitionRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ResumePartitionResponse:
        """Let a halted partition go on."""
        if request.allowed_rejects < 0:
            raise AtFault("allowed_rejects", Refused("must be 0 or more"))
        report = self._backend.resume_partition(request.topic, request.partition, request.allowed_rejects)
        return admin_pb2.ResumePartitionResponse(partition=partition_to_proto(report))

    def ResetPartition(
        self, request: admin_pb2.ResetPartitionRequest, _context: grpc.ServicerContext
    ) -> admin_pb2.ResetPartitionResponse:
        """Do it, or say what it would do."""
        try:
            return answer_to_proto(self._backend.reset_partition(request_from_proto(request)))
        except Refused as error:
            name, _, sentence = str(error).partition(": ")
            if name in request.DESCRIPTOR.fields_by_name:
                raise AtFault(name, type(error)(sentence)) from None
            raise


@contextlib.contextmanager
def _naming_the_filter() -> Iterator[None]:
    """Let a refusal whose sentence starts with a filter, as those of a selection do, name it."""
    try:
        yield
    except Refused as error:
        name, _, sentence = str(error).partition(": ")
        if name in admin_pb2.DeadLetterSelection.DESCRIPTOR.fields_by_name:
            raise AtFault(f"selection.{name}", type(error)(sentence)) from None
        raise
