"""Messages about backfills to our types and back."""

from __future__ import annotations

from dataclasses import asdict

from featurestore.v1 import backfill_pb2

from cluster.backfills import BackfillProgress, Left
from cluster.gateway.convert import fields
from cluster.ingest.backfills import Backfill, BackfillPart, BackfillState


def backfill_to_proto(backfill: Backfill) -> backfill_pb2.Backfill:
    """Return the message for a backfill."""
    return backfill_pb2.Backfill(**{**asdict(backfill), "state": str(backfill.state)})


def backfill_from_proto(message: backfill_pb2.Backfill) -> Backfill:
    """Undo `backfill_to_proto`."""
    return Backfill(
        **{
            **fields(message),
            "features": tuple(message.features),
            "parts": tuple(BackfillPart(**fields(part)) for part in message.parts),
            "state": BackfillState(message.state),
        },
    )


def progress_to_proto(progress: BackfillProgress) -> backfill_pb2.RunBackfillResponse:
    """Return the message for how far a backfill is."""
    left = [backfill_pb2.BackfillLeft(**asdict(left)) for left in progress.left]
    return backfill_pb2.RunBackfillResponse(backfill=backfill_to_proto(progress.backfill), left=left, dry_run=progress.dry_run)


def progress_from_proto(message: backfill_pb2.RunBackfillResponse) -> BackfillProgress:
    """Undo `progress_to_proto`."""
    left = tuple(Left(**fields(left)) for left in message.left)
    return BackfillProgress(backfill_from_proto(message.backfill), left, message.dry_run)
