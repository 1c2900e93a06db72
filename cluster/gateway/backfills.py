# ruff: noqa: N802 - methods are named by the protocol
"""BackfillService: features of the past under the definitions in force."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc
from featurestore.v1 import backfill_pb2, backfill_pb2_grpc

from cluster.backfills import Asked
from cluster.errors import Refused
from cluster.gateway.backend import Backfills
from cluster.gateway.convert_backfills import backfill_to_proto, progress_to_proto
from cluster.gateway.failures import AtFault, argument

LISTED, MOST_LISTED = 100, 10_000


class BackfillService(backfill_pb2_grpc.BackfillServiceServicer):
    """Thin: asks the backfills of the backend and puts the answer into messages."""

    def __init__(self, backfills: Backfills) -> None:
        self._backfills = backfills

    def RunBackfill(
        self, request: backfill_pb2.RunBackfillRequest, _context: grpc.ServicerContext
    ) -> Iterator[backfill_pb2.RunBackfillResponse]:
        """Run it, or only say what would be read, and follow it to its end."""
        asked = Asked(request.view, request.since_us, request.until_us)
        with _naming_the_argument():
            for progress in self._backfills.try_out(asked) if request.dry_run else self._backfills.run(asked):
                yield progress_to_proto(progress)

    def ListBackfills(
        self, request: backfill_pb2.ListBackfillsRequest, _context: grpc.ServicerContext
    ) -> backfill_pb2.ListBackfillsResponse:
        """Answer with the newest."""
        if not 0 <= request.limit <= MOST_LISTED:
            raise AtFault("limit", Refused(f"must lie between 1 and {MOST_LISTED}, or be 0 for {LISTED}"))
        found = self._backfills.listed(request.limit or LISTED)
        return backfill_pb2.ListBackfillsResponse(backfills=[backfill_to_proto(backfill) for backfill in found])

    def CancelBackfill(
        self, request: backfill_pb2.CancelBackfillRequest, _context: grpc.ServicerContext
    ) -> backfill_pb2.CancelBackfillResponse:
        """Stop it."""
        with argument("backfill_id"):
            backfill = self._backfills.cancel(request.backfill_id)
        return backfill_pb2.CancelBackfillResponse(backfill=backfill_to_proto(backfill))


@contextlib.contextmanager
def _naming_the_argument() -> Iterator[None]:
    """Let a refusal whose sentence starts with an argument name it."""
    try:
        yield
    except Refused as error:
        name, _, sentence = str(error).partition(": ")
        if name in backfill_pb2.RunBackfillRequest.DESCRIPTOR.fields_by_name:
            raise AtFault(name, type(error)(sentence)) from None
        raise
