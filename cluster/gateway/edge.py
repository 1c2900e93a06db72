"""What happens around every call: who calls is known, what runs is counted, and errors become status codes.

All methods take their requests as streams, also those with one message: on the wire that is the same, and it lets us
judge the caller before its message is read, and end the wait for one that does not come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import structlog
from grpc_status import rpc_status

from cluster.errors import RaytideError, Refused, RetryLater
from cluster.gateway.admission import Admission
from cluster.gateway.denials import Denials
from cluster.gateway.failures import to_status, unexpected
from cluster.gateway.guard import Guard
from cluster.gateway.patience import Patience
from cluster.gateway.requests import BROKEN

log = structlog.get_logger()
OURS = ("/featurestore.v1.", "/feast.serving.", "/GrpcFeatureServer/")
Handler = Callable[..., Any]
#: What a handler is given as its request, of the stream and the call.
Taken = Callable[[Iterator[Any], grpc.ServicerContext], Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What every call has to pass."""

    guard: Guard
    admission: Admission
    patience: Patience
    denials: Denials


class Edge(grpc.ServerInterceptor):
    """Puts the rules around each method that is served."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler with the rules around it; None for a method that does not exist."""
        method = handler_call_details.method
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None:
                return None
            self._handlers[method] = _around(handler, method, self._rules)
        return self._handlers[method]


def _around(handler: Any, method: str, rules: Rules) -> grpc.RpcMethodHandler[Any, Any]:
    calls = _Calls(method, rules)
    coders = {"request_deserializer": handler.request_deserializer, "response_serializer": handler.response_serializer}
    if handler.unary_unary:
        return grpc.stream_unary_rpc_method_handler(calls.answering(handler.unary_unary), **coders)
    if handler.stream_stream:
        take = _as_it_is if method.startswith(OURS) else rules.patience.messages  # ours know how long they wait for what
        return grpc.stream_stream_rpc_method_handler(calls.streaming(handler.stream_stream, take), **coders)
    return grpc.stream_stream_rpc_method_handler(calls.streaming(handler.unary_stream, calls.only), **coders)


class _Calls:
    """One method's calls."""

    def __init__(self, method: str, rules: Rules) -> None:
        self._method, self._rules = method, rules

    def answering(self, handle: Handler) -> Handler:
        """Return a handler that answers with one message."""

        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            try:
                with self._admitted(context):
                    answer = handle(self.only(requests, context), context)
            except Exception as error:  # noqa: BLE001 - the edge: nothing may reach the client unjudged
                self._end(context, error)
            self._rules.patience.until_read(context)
            return answer

        return call

    def streaming(self, handle: Handler, take: Taken) -> Handler:
        """Return a handler that answers with a stream."""

        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._admitted(context):
                    yield from self._rules.patience.taken(handle(take(requests, context), context), context)
            except Exception as error:  # noqa: BLE001 - the edge: nothing may reach the client unjudged
                self._end(context, error)

        return call

    def only(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Return the one message of a call; raise RetryLater when the client goes away, Refused when there is none."""
        try:
            message = next(self._rules.patience.messages(requests, context), None)
        except grpc.RpcError:
            raise RetryLater(BROKEN) from None
        if message is None:
            raise Refused("the call carries no message: send one")
        return message

    @contextlib.contextmanager
    def _admitted(self, context: grpc.ServicerContext) -> Iterator[None]:
        with self._rules.admission.running(self._rules.guard.caller(context, self._method), context):
            yield

    def _end(self, context: grpc.ServicerContext, error: Exception) -> NoReturn:
        if isinstance(error, RaytideError):
            self._rules.denials.note(self._method, context, error)
            status = to_status(error)
        else:
            log.error("call_failed", method=self._method, exc_info=error)
            status = unexpected()
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError  # abort_with_status raised


def _as_it_is(requests: Iterator[Any], _context: grpc.ServicerContext) -> Iterator[Any]:
    return requests
