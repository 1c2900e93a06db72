"""Who is calling, and whether that caller may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import structlog

from cluster.config import GatewayConfig
from cluster.errors import Forbidden, Unauthenticated
from cluster.gateway.roles import Role, needed
from cluster.gateway.tokens import Holder, read_tokens
from cluster.private_files import Followed

log = structlog.get_logger()
_SCHEME = "bearer "


class Guard:
    """Knows the tokens, if there are any: without them whoever can connect may call everything."""

    def __init__(self, config: GatewayConfig) -> None:
        path = Path(config.tokens) if config.tokens else None
        self._tokens = Followed([path], lambda: read_tokens(path)) if path else None
        self._has_certificates = config.tls_client_ca is not None

    def caller(self, context: grpc.ServicerContext, method: str) -> str:
        """Return the name of who calls `method`: of the token, else of the certificate, else of the connection.

        Raise Unauthenticated without a token that is known, Forbidden when its role does not reach.
        """
        role = needed(method)
        if self._tokens is None or role is Role.ANYONE:
            return self._connected(context)
        holder = self._holder(_presented(context))
        if holder.role < role:
            raise Forbidden(
                f"{holder.name} is a {holder.role.name.lower()}, and {_short(method)} is for the role {role.name.lower()}: "
                "call with a token that has it"
            )
        if role is Role.ADMIN:
            log.info("admin_call", method=_short(method), caller=holder.name)
        return holder.name

    def _holder(self, token: str) -> Holder:
        if not token:
            raise Unauthenticated(
                "this gateway wants a token, and the call has none: set client.token_file, or RAYTIDE_CLIENT__TOKEN in the "
                "environment (other clients: the metadata `authorization: Bearer TOKEN`)"
            )
        found = self._tokens.value().holder(token) if self._tokens else None
        if found is None:
            raise Unauthenticated(
                "this gateway does not know the token of the call: ask whoever keeps its tokens file for one that is in force"
            )
        return found

    def _connected(self, context: grpc.ServicerContext) -> str:
        names: Any = context.auth_context().get("x509_common_name") if self._has_certificates else None
        if names:
            return str(names[0].decode(errors="replace"))
        return str(context.peer())


def _presented(context: grpc.ServicerContext) -> str:
    for key, value in context.invocation_metadata():
        if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    return ""


def _short(method: str) -> str:
    return method.rpartition(".")[2].replace("/", ".")
