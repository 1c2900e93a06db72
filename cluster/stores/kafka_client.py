"""What all our Kafka clients share: options from the configuration, a first connection, and our errors for theirs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import crc32c  # noqa: F401 - without it kafka-python computes checksums in Python, and takes five times as long in all
from kafka.errors import AuthorizationError, CorruptRecordError, KafkaConfigurationError, KafkaError
from kafka.net.compat import KafkaNetClient

from cluster.config import KafkaConfig
from cluster.errors import Misconfigured, Refused, Unreachable
from cluster.stores.kafka_batches import CorruptBatch

CONNECT_SECONDS = 2.0

Client = TypeVar("Client")


def client_options(kafka: KafkaConfig, bootstrap: str) -> dict[str, Any]:
    """Return what kafka-python's consumer, producer and admin client need to reach `bootstrap` (host:port, ...).

    The passwords are in clear text here: pass the result to a client and nowhere else.
    """
    return {
        "bootstrap_servers": [server.strip() for server in bootstrap.split(",")],
        "client_id": "raytide",
        "security_protocol": kafka.security_protocol,
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        "ssl_cafile": kafka.ssl_cafile,
        "ssl_certfile": kafka.ssl_certfile,
        "ssl_keyfile": kafka.ssl_keyfile,
        "ssl_password": kafka.ssl_password.get_secret_value() if kafka.ssl_password else None,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "request_timeout_ms": kafka.request_timeout_ms,
        # The defaults of half a minute keep a client away long after its broker is back.
        "bootstrap_timeout_ms": kafka.request_timeout_ms,
        "reconnect_backoff_max_ms": 1_000,
    }


def connect(make: Callable[..., Client], bootstrap: str, options: dict[str, Any]) -> Client:
    """Build a client with `options`; raise Unreachable, naming what to check, or Misconfigured.

    A client that fails to start leaves nothing behind.
    """
    check_listening(bootstrap)
    made: list[KafkaNetClient] = []

    def remember(**configs: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        with kafka_errors(bootstrap):
            return make(kafka_client=remember, **options)
    except BaseException:
        for client in made:  # kafka-python has started its thread by then, and would keep it
            client.close()
        raise


@contextmanager
def kafka_errors(bootstrap: str) -> Iterator[None]:
    """Raise our errors for kafka-python's."""
    try:
        yield
    except (CorruptRecordError, CorruptBatch) as error:
        raise Refused(
            f"Kafka at {bootstrap} sent a damaged record batch: {error}. If it stays when read again, the broker's log is "
            "damaged: restore it from a replica",
        ) from error
    except KafkaConfigurationError as error:
        raise Misconfigured(f"kafka: {error}; correct section `kafka` of feature_store.yaml") from error
    except AuthorizationError as error:
        raise Refused(f"Kafka at {bootstrap} does not allow this: {error}; grant it to the configured user") from error
    except KafkaError as error:
        if not error.retriable:
            raise Refused(f"Kafka at {bootstrap} refuses: {type(error).__name__}: {error}") from error
        raise Unreachable(
            f"Kafka at {bootstrap} does not answer ({type(error).__name__}): is it running? A wrong password or user, an "
            "authority that is not trusted, or a listener with another security_protocol look the same from here: compare "
            "section `kafka` of feature_store.yaml with the broker's listener, and see the broker's log",
        ) from error
    except OSError as error:
        raise Misconfigured(f"kafka: {error}; check the ssl_ files in section `kafka` of feature_store.yaml") from error


def check_listening(bootstrap: str) -> None:
    """Raise Unreachable at once if nobody listens: kafka-python would try until its timeout."""
    causes = []
    for server in bootstrap.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except ValueError:
            raise Misconfigured(f"kafka: '{server}' is not host:port; correct bootstrap_servers") from None
        except OSError as error:
            causes.append(f"{server.strip()}: {error.strerror or error}")
        else:
            return
    raise Unreachable(
        f"no Kafka broker listens ({'; '.join(causes)}): start it (raytide stack up), or correct bootstrap_servers"
    )
