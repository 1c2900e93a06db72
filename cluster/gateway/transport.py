"""How the gateway's port is opened: with TLS if there is a certificate; for other machines only if that is safe, or meant."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from cluster.config import GatewayConfig
from cluster.errors import Misconfigured
from cluster.private_files import Followed, read_file, read_private

log = structlog.get_logger()
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True)
class Identity:
    """The gateway's certificate as it is now, and whom it trusts."""

    chain: bytes
    key: bytes
    client_ca: bytes | None

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return it as gRPC wants it."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_ca)


def is_loopback(host: str) -> bool:
    """Say whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def on_node(config: GatewayConfig, address: str) -> GatewayConfig:
    """Return how a gateway on another node is bound: to the node's own address, where the first one has its own.

    Loopback and "all addresses" are the same everywhere.
    """
    if is_loopback(config.host) or config.host in EVERYWHERE:
        return config.model_copy(update={"processes": 1})
    meant = address if config.plaintext_host == config.host else config.plaintext_host
    return config.model_copy(update={"processes": 1, "host": address, "plaintext_host": meant})


def check_reach(config: GatewayConfig) -> None:
    """Raise Misconfigured when others could reach the gateway and read, or call, what they should not."""
    if bool(config.tls_cert) != bool(config.tls_key):
        raise Misconfigured("gateway.tls_cert and gateway.tls_key belong together: set both, or neither")
    if config.tls_client_ca and not config.tls_cert:
        raise Misconfigured("gateway.tls_client_ca needs TLS: set gateway.tls_cert and gateway.tls_key as well")
    if is_loopback(config.host):
        return
    if not config.tls_cert and not (config.allow_plaintext and config.plaintext_host == config.host):
        raise Misconfigured(
            f"gateway.host {config.host} is reached from other machines, and without TLS anybody on the way reads and changes "
            "what is sent: set gateway.tls_cert and gateway.tls_key. Where the network itself is protected, say so twice: "
            f"gateway.allow_plaintext: true and gateway.plaintext_host: {config.host}"
        )
    if not (config.tokens or config.tls_client_ca or config.allow_anonymous):
        raise Misconfigured(
            f"gateway.host {config.host} is reached from other machines, and anybody there could call everything: set "
            "gateway.tokens or gateway.tls_client_ca; or, where everybody may, gateway.allow_anonymous: true"
        )


def credentials(config: GatewayConfig) -> grpc.ServerCredentials | None:
    """Return what makes a port speak TLS, following changes of the files; None without a certificate.

    Raise Misconfigured for files that cannot be read, do not fit together, or are open to others.
    """
    if not (config.tls_cert and config.tls_key):
        return None
    files = [Path(file) for file in (config.tls_cert, config.tls_key, config.tls_client_ca) if file]
    followed = Followed(files, lambda: _identity(config))
    given = followed.value()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if followed.value() is given:
            return None
        given = followed.value()
        return given.configuration()

    return grpc.dynamic_ssl_server_credentials(
        given.configuration(),
        changed,  # type: ignore[arg-type] # None means no change
        require_client_authentication=config.tls_client_ca is not None,
    )


def bind(server: grpc.Server, config: GatewayConfig) -> int:
    """Bind the configured port, or a free one when it is taken, and return it; raise Misconfigured as the others here do."""
    check_reach(config)
    tls = credentials(config)
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        return _add(server, f"{host}:{config.port}", tls)
    except RuntimeError:
        log.warning("port_taken", host=config.host, port=config.port, next_step="a free port is used instead")
    try:
        return _add(server, f"{host}:0", tls)
    except RuntimeError:
        raise Misconfigured(f"gateway.host {config.host} is not an address of this machine: set one that is") from None


def _add(server: grpc.Server, address: str, tls: grpc.ServerCredentials | None) -> int:
    return server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)


def _identity(config: GatewayConfig) -> Identity:
    cert, key = Path(config.tls_cert or ""), Path(config.tls_key or "")
    read = Identity(
        chain=read_file(cert, "gateway.tls_cert"),
        key=read_private(key, "gateway.tls_key"),
        client_ca=read_file(Path(config.tls_client_ca), "gateway.tls_client_ca") if config.tls_client_ca else None,
    )
    _check_pair(cert, key)
    if config.tls_client_ca:
        _check_authority(Path(config.tls_client_ca))
    return read


def _check_pair(cert: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        cause = error.reason or "no certificate, or no key, in PEM"
        raise Misconfigured(
            f"gateway.tls_cert {cert} and gateway.tls_key {key} do not fit together ({cause}): give a certificate and its own "
            "key, both in PEM, the key without a password"
        ) from None


def _check_authority(file: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except ssl.SSLError as error:
        raise Misconfigured(
            f"gateway.tls_client_ca {file} holds no certificate ({error.reason}): give the authority's in PEM"
        ) from None


def _no_password() -> str:
    return ""  # instead of asking for one at the terminal
