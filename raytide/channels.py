"""Connections to a gateway: in clear, or with TLS, a certificate and a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from cluster.config import ClientConfig
from cluster.errors import Misconfigured
from cluster.gateway.transport import is_loopback
from cluster.private_files import Followed, read_file, read_private

OPTIONS = (
    # An online answer has no limit of its own; what is asked for bounds it.
    ("grpc.max_receive_message_length", -1),
    # So that another of several processes is asked within the tries that a read has, when one died while it was connected to.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Finds a gateway whose machine is gone while a long call waits.
    ("grpc.keepalive_time_ms", 30_000),
)


def open_channel(address: str, access: ClientConfig) -> grpc.Channel:
    """Return a channel to `address` on which calls carry the token, if there is one.

    Raise Misconfigured for files that cannot be read, a secret that is open to others, or a token that would travel in clear.
    """
    encrypting, token = credentials(access), token_of(access)
    _check_token_is_hidden(address, access)
    options = _options(access)
    channel = (
        grpc.secure_channel(address, encrypting, options=options)
        if encrypting
        else grpc.insecure_channel(address, options=options)
    )
    return grpc.intercept_channel(channel, _Bearer(token)) if token else channel


def open_async_channel(address: str, access: ClientConfig) -> Any:
    """Return the same for asyncio, in whose loop this is called; calls carry what `bearer` gives themselves."""
    encrypting = credentials(access)
    _check_token_is_hidden(address, access)
    options = _options(access)
    if encrypting:
        return grpc.aio.secure_channel(address, encrypting, options=options)
    return grpc.aio.insecure_channel(address, options=options)


def bearer(token: Callable[[], str] | None) -> list[tuple[str, str]]:
    """Return the metadata with which a call shows who it is."""
    return [("authorization", f"Bearer {token()}")] if token else []


def _check_token_is_hidden(address: str, access: ClientConfig) -> None:
    has_token = bool(access.token or access.token_file)
    if has_token and not _encrypts(access) and not access.plaintext_token and not is_loopback(address.rpartition(":")[0]):
        raise Misconfigured(
            f"the token would travel to {address} in clear text: set client.ca, or client.tls: true for a certificate of a "
            "usual authority; or, where the network itself is protected, client.plaintext_token: true"
        )


def _encrypts(access: ClientConfig) -> bool:
    return bool(access.tls or access.ca or access.cert)


def _options(access: ClientConfig) -> tuple[tuple[str, Any], ...]:
    return (*OPTIONS, ("grpc.ssl_target_name_override", access.server_name)) if access.server_name else OPTIONS


def credentials(access: ClientConfig) -> grpc.ChannelCredentials | None:
    """Return what makes a channel speak TLS; None when nothing asks for it."""
    if bool(access.cert) != bool(access.key):
        raise Misconfigured("client.cert and client.key belong together: set both, or neither")
    if not _encrypts(access):
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=read_file(Path(access.ca), "client.ca") if access.ca else None,
        private_key=read_private(Path(access.key), "client.key") if access.key else None,
        certificate_chain=read_file(Path(access.cert), "client.cert") if access.cert else None,
    )


def token_of(access: ClientConfig) -> Callable[[], str] | None:
    """Return what gives the token for each call, as its file has it by then; None when there is none."""
    if access.token and access.token_file:
        raise Misconfigured("client.token and client.token_file are both set: leave one of them out")
    if access.token:
        secret = _checked(access.token.get_secret_value(), "client.token")
        return lambda: secret
    if not access.token_file:
        return None
    file = Path(access.token_file)
    return Followed([file], lambda: _from_file(file)).value


def _from_file(file: Path) -> str:
    return _checked(read_private(file, "client.token_file").decode(errors="replace"), f"client.token_file {file}")


def _checked(token: str, where: str) -> str:
    """Return a token that can be a header's value; the error has nothing of it."""
    bare = token.strip()
    if not bare or not bare.isascii() or not bare.isprintable() or " " in bare:
        raise Misconfigured(f"{where} holds no token: it is one word of letters and digits")
    return bare


class _Details(NamedTuple):
    """gRPC's own details of a call, with other metadata."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to each call."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *bearer(self._token)]
        others = (details.credentials, details.wait_for_ready, details.compression)
        return continuation(_Details(details.method, details.timeout, metadata, *others), request)

    # One function for the four kinds of calls, which gRPC's types tell apart.
    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call
