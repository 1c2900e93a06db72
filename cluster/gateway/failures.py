"""Errors on the wire: our tree to gRPC codes with google.rpc details on the server, and back on the client.

The code says what to do, `ErrorInfo.reason` which of our errors it was, `BadRequest` which argument was at fault.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from cluster.errors import BadFile, Busy, Misconfigured, NotFound, OverLimit, RaytideError, Refused, RetryLater, Unreachable

DOMAIN = "raytide"

#: The first class that an error is an instance of decides.
CODES: tuple[tuple[type[RaytideError], int], ...] = (
    (OverLimit, code_pb2.RESOURCE_EXHAUSTED),
    (NotFound, code_pb2.NOT_FOUND),
    (BadFile, code_pb2.INVALID_ARGUMENT),
    (Refused, code_pb2.FAILED_PRECONDITION),
    (Misconfigured, code_pb2.FAILED_PRECONDITION),
    (Busy, code_pb2.RESOURCE_EXHAUSTED),
    (Unreachable, code_pb2.UNAVAILABLE),
    (RetryLater, code_pb2.UNAVAILABLE),
)


#: What a code means that gRPC itself gave, without a word from a gateway of ours.
UNTOLD: dict[grpc.StatusCode, tuple[type[RaytideError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (
        Unreachable,
        "no gateway answers at {address} ({text}): start one with `raytide up`, or name another address",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (RetryLater, "{address} did not answer in time: try again, or allow more time"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (RetryLater, "{address} is busy ({text}): try again in a moment"),
    grpc.StatusCode.CANCELLED: (RetryLater, "the call to {address} was broken off ({text}): try again"),
}


class AtFault(Refused):
    """An argument was refused: which one, and with what error."""

    def __init__(self, field: str, error: Refused) -> None:
        super().__init__(field, error)
        self.field, self.error = field, error

    def __str__(self) -> str:
        return f"{self.field}: {self.error}"


@contextlib.contextmanager
def argument(field: str) -> Iterator[None]:
    """Let a refusal inside that names no argument name `field` of the request."""
    try:
        yield
    except AtFault:
        raise
    except Refused as error:
        raise AtFault(field, error) from None


def to_status(failure: RaytideError) -> status_pb2.Status:
    """Return what the client is told."""
    field, error = (failure.field, failure.error) if isinstance(failure, AtFault) else ("", failure)
    kind, code = next((row for row in CODES if isinstance(error, row[0])), (RaytideError, code_pb2.UNKNOWN))
    if field and kind is Refused:
        code = code_pb2.INVALID_ARGUMENT
    details: list[object] = [error_details_pb2.ErrorInfo(reason=_reason(kind), domain=DOMAIN)]
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=str(error))
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    return status_pb2.Status(code=code, message=str(failure), details=[_packed(d) for d in details])


def unexpected() -> status_pb2.Status:
    """Return what the client is told about an error that nobody planned for: nothing of its text."""
    return status_pb2.Status(
        code=code_pb2.INTERNAL,
        message="the gateway failed on this call for a reason of its own; its log says why",
        details=[_packed(error_details_pb2.ErrorInfo(reason="UNEXPECTED", domain=DOMAIN))],
    )


def from_call(error: grpc.RpcError, address: str) -> RaytideError:
    """Return the error of ours that a failed call to `address` means."""
    text = _first_line(error.details())
    if kind := _kinds().get(_told_reason(error)):
        return kind(error.details())
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return OverLimit(f"a message is too long for {address} ({text}): send less in one call")
    kind, sentence = UNTOLD.get(error.code(), (Refused, "{address} failed ({text}): its log says why"))
    return kind(sentence.format(address=address, text=text))


def _kinds() -> dict[str, type[RaytideError]]:
    return {_reason(kind): kind for kind, _ in CODES}


def _told_reason(error: grpc.RpcError) -> str:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return str(info.reason)
    return ""


def _reason(kind: type[RaytideError]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


def _packed(message: object) -> Any:
    packed = Any()
    packed.Pack(message)  # type: ignore[arg-type] # google.rpc has no types
    return packed


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0][:200]
