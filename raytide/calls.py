"""One connection to a gateway, and how its methods are called: with a bound in time, and failing with errors of ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_any, stop_before_delay, wait_random_exponential

from cluster.config import ClientConfig
from cluster.gateway.failures import from_call
from raytide.channels import open_channel

ATTEMPTS = 3


class Calls:
    """What every part of a client shares. Any number of threads may use it."""

    def __init__(self, address: str, timeout_s: float, access: ClientConfig) -> None:
        self.address, self.timeout_s = address, timeout_s
        self.channel = open_channel(address, access)

    def read(self, method: Callable[..., Any], request: Any) -> Any:
        """Call a method that may be called twice; finding nobody, it is tried three times within about a second.

        All tries together end within the time limit.
        """
        with self.translated():
            return _patiently(method, request, self.timeout_s)

    def once(self, method: Callable[..., Any], request: Any) -> Any:
        """Call a method whose answer would be another one the second time."""
        with self.translated():
            return method(request, timeout=self.timeout_s)

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Raise what gRPC raises inside as the error of ours that it means."""
        try:
            yield
        except grpc.RpcError as error:
            raise from_call(error, self.address) from None


def patience(seconds: float) -> dict[str, Any]:
    """Return how tenacity tries again: finding nobody, three times, and not when it would end after `seconds`."""
    return {
        "retry": retry_if_exception(_is_away),
        "wait": wait_random_exponential(multiplier=0.1, max=1),
        "stop": stop_any(stop_after_attempt(ATTEMPTS), stop_before_delay(seconds)),
        "reraise": True,
    }


def _is_away(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


def _patiently(method: Callable[..., Any], request: Any, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    return Retrying(**patience(timeout))(lambda: method(request, timeout=deadline - time.monotonic()))
