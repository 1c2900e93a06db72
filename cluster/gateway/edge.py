"""What happens around every call of ours: errors become status codes, and what nobody planned for is logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
import structlog
from grpc_status import rpc_status

from cluster.errors import RaytideError
from cluster.gateway.failures import to_status, unexpected

log = structlog.get_logger()
OURS = ("/featurestore.v1.", "/feast.serving.", "/GrpcFeatureServer/")
Handler = Callable[[Any, grpc.ServicerContext], Any]


class Edge(grpc.ServerInterceptor):
    """Turns errors of our services into status codes with details; what nobody planned for is logged and hidden."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap a handler of ours; health and reflection pass untouched."""
        handler = continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler
        return _wrapped(handler, handler_call_details.method)


def _wrapped(handler: Any, method: str) -> grpc.RpcMethodHandler[Any, Any]:
    coders = {"request_deserializer": handler.request_deserializer, "response_serializer": handler.response_serializer}
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, method), **coders)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(_stream(handler.unary_stream, method), **coders)

    return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream, method), **coders)


def _unary(handle: Handler, method: str) -> Handler:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return handle(request, context)
        except Exception as error:  # noqa: BLE001 - the edge: nothing may reach the client unjudged
            _end(context, error, method)

    return call


def _stream(handle: Handler, method: str) -> Handler:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from handle(request, context)
        except Exception as error:  # noqa: BLE001 - the edge: nothing may reach the client unjudged
            _end(context, error, method)

    return call


def _end(context: grpc.ServicerContext, error: Exception, method: str) -> NoReturn:
    if isinstance(error, RaytideError):
        status = to_status(error)
    else:
        log.error("call_failed", method=method, exc_info=error)
        status = unexpected()
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError  # abort_with_status raised
