"""A real Kafka with SASL over TLS on one listener, and certificates of clients on another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from cluster.config import KafkaConfig
from cluster.errors import RaytideError
from cluster.stack import kafka
from cluster.stack.process import HOST, free_port, stop
from cluster.stores.kafka_admin import KafkaAdmin
from tests.certificates import Authority

pytestmark = [pytest.mark.stack, pytest.mark.long]
PASSWORD = "hunter2-and-more"  # noqa: S105 - planted
TIMEOUT_MS = 10_000

# Java takes the last of two lines with one name, so these come after the stack's own.
_LISTENERS = """
listeners=PLAINTEXT://{host}:{plain},CONTROLLER://{host}:{controller},SAFE://{host}:{safe},CERT://{host}:{cert}
advertised.listeners=PLAINTEXT://{host}:{plain},SAFE://{host}:{safe},CERT://{host}:{cert}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SAFE:SASL_SSL,CERT:SSL
sasl.enabled.mechanisms=PLAIN
listener.name.safe.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_raytide="{password}";
listener.name.cert.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location=broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
"""  # noqa: E501 - one line for Java


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the listeners are, and the files that reach them."""

    safe: str
    cert: str
    ca: str
    client_cert: str
    client_key: str


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    state = tmp_path_factory.mktemp("kafka")
    authority = Authority(state)
    server, client = authority.sign("broker"), authority.sign("client")
    node = kafka.Node(1, state / "kafka" / "1", free_port(), free_port())
    safe, cert = free_port(), free_port()
    kafka.configure(node, [node])
    ports = {"plain": node.port, "controller": node.controller_port, "safe": safe, "cert": cert}
    with (node.folder / "server.properties").open("a", encoding="utf-8") as properties:
        properties.write(_LISTENERS.format(host=HOST, password=PASSWORD, **ports))
    (node.folder / "broker.pem").write_bytes(server.key.read_bytes() + server.cert.read_bytes())
    (node.folder / "ca.pem").write_bytes(authority.ca.read_bytes())
    kafka.format_storage([node])
    process = kafka.start(node, 1)
    try:
        waiting = Retrying(retry=retry_if_result(lambda there: not there), stop=stop_after_delay(90), wait=wait_fixed(0.2))
        waiting(kafka.answers, node.port)
        yield Broker(f"{HOST}:{safe}", f"{HOST}:{cert}", str(authority.ca), str(client.cert), str(client.key))
    finally:
        stop([process], kafka.STOP_SECONDS)


def topics_work(config: KafkaConfig, bootstrap: str, topic: str) -> None:
    """Make a topic and look at it."""
    admin = KafkaAdmin(config, bootstrap)
    try:
        admin.create_topic(topic, 2)
        assert admin.ends([topic]) == {(topic, 0): 0, (topic, 1): 0}
    finally:
        admin.close()


def safe(broker: Broker, **more: Any) -> KafkaConfig:
    settings: dict[str, Any] = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "raytide",
        "sasl_password": SecretStr(PASSWORD),
        "ssl_cafile": broker.ca,
        "request_timeout_ms": TIMEOUT_MS,
    }
    return KafkaConfig(**settings | more)


def test_sasl_over_tls(broker: Broker) -> None:
    topics_work(safe(broker), broker.safe, "safe")


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_what_is_wrong_is_said_without_the_password(broker: Broker, tmp_path: Path, wrong: str) -> None:
    ways: dict[str, dict[str, Any]] = {
        "password": {"sasl_password": SecretStr(f"{PASSWORD}-not")},
        "authority": {"ssl_cafile": str(Authority(tmp_path, "stranger").ca)},
    }
    with pytest.raises(RaytideError, match=r"[kK]afka") as caught:
        topics_work(safe(broker, **ways[wrong], request_timeout_ms=3_000), broker.safe, "wrong")
    assert PASSWORD not in str(caught.value)


def test_certificates_of_clients(broker: Broker) -> None:
    config = KafkaConfig(
        security_protocol="SSL",
        ssl_cafile=broker.ca,
        ssl_certfile=broker.client_cert,
        ssl_keyfile=broker.client_key,
        request_timeout_ms=TIMEOUT_MS,
    )
    topics_work(config, broker.cert, "certificates")
    with pytest.raises(RaytideError):
        topics_work(
            config.model_copy(update={"ssl_certfile": None, "ssl_keyfile": None, "request_timeout_ms": 3_000}),
            broker.cert,
            "no",
        )
