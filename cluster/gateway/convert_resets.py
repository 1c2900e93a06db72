"""Messages about resets to our types and back."""

from __future__ import annotations

from dataclasses import asdict

from featurestore.v1 import admin_pb2

from cluster.gateway.convert import fields
from cluster.resets import ResetAnswer, ResetRequest
from cluster.verify.report import Declared


def request_to_proto(request: ResetRequest) -> admin_pb2.ResetPartitionRequest:
    """Return the message for what is asked for."""
    return admin_pb2.ResetPartitionRequest(**asdict(request))


def request_from_proto(message: admin_pb2.ResetPartitionRequest) -> ResetRequest:
    """Undo `request_to_proto`."""
    return ResetRequest(**fields(message))


def answer_to_proto(answer: ResetAnswer) -> admin_pb2.ResetPartitionResponse:
    """Return the message for what was done, or would be."""
    declared = [admin_pb2.DeclaredLoss(**asdict(loss)) for loss in answer.declared]
    return admin_pb2.ResetPartitionResponse(previous=answer.previous, next=answer.next, declared=declared)


def answer_from_proto(message: admin_pb2.ResetPartitionResponse) -> ResetAnswer:
    """Undo `answer_to_proto`."""
    return ResetAnswer(message.previous, message.next, tuple(Declared(**fields(loss)) for loss in message.declared))
