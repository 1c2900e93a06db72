# ruff: noqa: N802 - methods are named by the protocol
"""AdminService: status, SQL, verify, rebuilding the online store."""

from __future__ import annotations

import math
from collections.abc import Iterator

import grpc
from featurestore.v1 import admin_pb2, admin_pb2_grpc

from cluster.errors import Refused
from cluster.gateway.arrow import to_chunks
from cluster.gateway.backend import Backend
from cluster.gateway.convert import online_to_proto, status_to_proto, verify_to_proto
from cluster.gateway.failures import AtFault, argument


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
        return verify_to_proto(self._backend.verify(request.wait_s))

    def RebuildOnline(
        self, _request: admin_pb2.RebuildOnlineRequest, _context: grpc.ServicerContext
    ) -> Iterator[admin_pb2.RebuildOnlineResponse]:
        """Ask for it and follow it to its end."""
        for report in self._backend.rebuild_online():
            yield admin_pb2.RebuildOnlineResponse(online=online_to_proto(report))
