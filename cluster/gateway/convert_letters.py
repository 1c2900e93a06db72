"""Dead letters to messages and back."""

from __future__ import annotations

from typing import Any

from featurestore.v1 import admin_pb2

from cluster.dead_letters import DeadLetter, Place, ReplayProgress, Selection
from cluster.gateway.convert import fields


def place_to_proto(place: Place) -> admin_pb2.DeadLetterPlace:
    """Return the message for a place."""
    return admin_pb2.DeadLetterPlace(
        position=place.position, topic=place.topic, partition=place.partition, upload_id=place.upload_id
    )


def place_from_proto(message: admin_pb2.DeadLetterPlace) -> Place:
    """Undo `place_to_proto`."""
    return Place(**fields(message))


def selection_to_proto(selection: Selection) -> admin_pb2.DeadLetterSelection:
    """Return the message for a selection."""
    return admin_pb2.DeadLetterSelection(
        source=selection.source,
        upload_id=selection.upload_id,
        reason=selection.reason,
        since_us=selection.since_us,
        until_us=selection.until_us,
        replayed=selection.replayed,
        place=None if selection.place is None else place_to_proto(selection.place),
    )


def selection_from_proto(message: admin_pb2.DeadLetterSelection) -> Selection:
    """Undo `selection_to_proto`."""
    place = place_from_proto(message.place) if message.HasField("place") else None
    return Selection(**{**fields(message), "place": place})


def letter_to_proto(letter: DeadLetter) -> admin_pb2.DeadLetter:
    """Return the message for a dead letter."""
    return admin_pb2.DeadLetter(
        place=place_to_proto(letter.place),
        source=letter.source,
        reason=letter.reason,
        detail=letter.detail,
        registry_version=letter.registry_version,
        received_at_us=letter.received_at,
        replayed_at_us=letter.replayed_at,
        record_time_us=letter.record_time,
        payload_bytes=letter.payload_bytes,
        payload=letter.payload,
        key=letter.key,
        headers=[admin_pb2.DeadLetterHeader(name=name, value=value) for name, value in letter.headers],
    )


def letter_from_proto(message: admin_pb2.DeadLetter) -> DeadLetter:
    """Undo `letter_to_proto`."""
    found: dict[str, Any] = {name.removesuffix("_us"): value for name, value in fields(message).items()}
    headers = tuple((header.name, header.value) for header in message.headers)
    return DeadLetter(**{**found, "place": place_from_proto(message.place), "headers": headers})


def replay_to_proto(progress: ReplayProgress) -> admin_pb2.ReplayDeadLettersResponse:
    """Return the message for how far a replay is."""
    return admin_pb2.ReplayDeadLettersResponse(
        total=progress.total,
        registry_version=progress.registry_version,
        seen=progress.seen,
        replayed=progress.replayed,
        taken=progress.taken,
        rejected=progress.rejected,
        skipped=progress.skipped,
        note=progress.note,
    )


def replay_from_proto(message: admin_pb2.ReplayDeadLettersResponse) -> ReplayProgress:
    """Undo `replay_to_proto`."""
    return ReplayProgress(
        **{**fields(message), "rejected": dict(message.rejected), "skipped": dict(message.skipped)},
    )
