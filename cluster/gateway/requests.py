"""Client streams: a header, then bytes, in that order and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from cluster.errors import Refused, RetryLater
from cluster.gateway.failures import AtFault

BROKEN = "the client went away before it had sent everything: send it again"


def take_header(requests: Iterator[Any]) -> Any:
    """Return the header that a client stream starts with; raise AtFault when something else comes first.

    Raise RetryLater when the client goes away.
    """
    try:
        first = next(requests, None)
    except grpc.RpcError:
        raise RetryLater(BROKEN) from None
    if first is None or first.WhichOneof("part") != "header":
        raise AtFault("header", Refused("the first message carries no header: send it before the bytes"))
    return first.header


def take_bytes(requests: Iterator[Any], part: str) -> Iterator[bytes]:
    """Yield the bytes of the messages after the header, which are all in the field `part`.

    Raise AtFault at a message that carries something else, RetryLater when the client goes away before it closed its
    side.
    """
    try:
        for number, message in enumerate(requests, start=2):
            if message.WhichOneof("part") != part:
                raise AtFault(part, Refused(f"message {number} carries no {part}: send one header, then only {part}"))
            yield getattr(message, part)
    except grpc.RpcError:
        raise RetryLater(BROKEN) from None
