"""Secrets are planted everywhere, and looked for in everything that is shown."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.gateway import without_password
from cluster import config as configuration
from cluster.app import App
from cluster.errors import RaytideError
from cluster.gateway.tokens import read_tokens
from cluster.preflight import check_redis
from cluster.stores.kafka_admin import KafkaAdmin
from cluster.stores.redis import RedisOnlineStore
from raytide.channels import open_channel
from raytide.client import RaytideClient
from tests.guarded_gateway import tokens_file

SECRET = "hunter2" * 5
FILE = f"""
project: shop
kafka: {{bootstrap_servers: "127.0.0.1:1", security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: u,
  sasl_password: {SECRET}, ssl_password: {SECRET}}}
online_store: {{connection_string: "redis://u:{SECRET}@127.0.0.1:1/0", password: {SECRET}}}
client: {{token: {SECRET}}}
"""


@pytest.fixture
def config(tmp_path: Path) -> configuration.Config:
    (tmp_path / configuration.FILE_NAME).write_text(FILE, encoding="utf-8")
    return configuration.load(tmp_path)


def url_of(config: configuration.Config) -> str:
    secret = config.online_store.connection_string
    assert secret
    return secret.get_secret_value()


def app_of(config: configuration.Config) -> App:
    return App(config, b"", 1, str(config.kafka.bootstrap_servers), url_of(config), "/tmp")  # noqa: S108 - only named


SHOWN: dict[str, Callable[[configuration.Config], Any]] = {
    "repr": repr,
    "text": str,
    "dump": lambda config: config.model_dump(),
    "json": lambda config: config.model_dump_json(),
    "json of the dump": lambda config: json.dumps(config.model_dump(), default=str),
    "sections": lambda config: [config.kafka, config.online_store, config.client],
    "what actors are told": app_of,
    "what comes out of a pickle": lambda config: pickle.loads(pickle.dumps(app_of(config))),  # noqa: S301 - ours
    "status": lambda config: without_password(url_of(config)),
    "a pool": lambda config: repr(RedisOnlineStore(url_of(config), config.online_store)._connections._pool),
    "an address": lambda config: RedisOnlineStore(url_of(config), config.online_store)._connections.address,
    "a client": lambda config: [vars(RaytideClient("127.0.0.1:1", access=config.client)), config.client],
}


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_that_is_shown_has_a_secret(config: configuration.Config, name: str) -> None:
    shown = f"{SHOWN[name](config)!r} {SHOWN[name](config)}"
    assert len(shown) > 1
    assert SECRET not in shown


def broken(folder: Path, text: str) -> Callable[[], Any]:
    file = folder / configuration.FILE_NAME
    file.write_text(text, encoding="utf-8")
    return lambda: configuration.load(folder)


def failing(folder: Path, config: configuration.Config) -> list[Callable[[], Any]]:
    """Return things that go wrong, each with a secret at hand."""
    texts = (
        f'project: shop\nkafka: {{sasl_password: "{SECRET}\n',
        f"project: shop\nkafka: {{sasl_password: [{SECRET}]}}\n",
        f"project: shop\nkafka: {{sasl_passwort: {SECRET}}}\n",
        f"project: shop\nclient: {{token: {{a: {SECRET}}}}}\n",
        f"project: shop\nonline_store: {{connection_string: 'redis://:12/{SECRET}@h/0'}}\n",
        f"project: shop\nkafka: {{security_protocol: SASL_SSL, sasl_password: {SECRET}}}\n",
    )
    folders = [folder / str(number) for number in range(len(texts))]
    for each in folders:
        each.mkdir()
    return [
        *(broken(each, text) for each, text in zip(folders, texts, strict=True)),
        lambda: check_redis(url_of(config), config.online_store),
        lambda: RedisOnlineStore(f"redis://:{SECRET}x/y@h/0", config.online_store),
        lambda: KafkaAdmin(config.kafka, "127.0.0.1:1"),
        lambda: read_tokens(Path(tokens_file(folder, f"a reader {SECRET} {SECRET}"))),
        lambda: open_channel("192.0.2.1:1", config.client),
        lambda: RaytideClient("127.0.0.1:1", timeout_s=5, access=config.client).status(),
    ]


def test_no_error_and_no_log_has_a_secret(
    config: configuration.Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for fail in failing(tmp_path, config):
        with structlog.testing.capture_logs() as logs, pytest.raises(RaytideError) as caught:
            fail()
        told = "".join(traceback.format_exception(caught.value, chain=True)) + str(caught.value) + repr(caught.value)
        assert SECRET not in told
        assert SECRET not in repr(logs)
    assert SECRET not in caplog.text


def test_a_section_that_is_no_json_in_the_environment_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / configuration.FILE_NAME).write_text("project: shop\n", encoding="utf-8")
    monkeypatch.setenv("RAYTIDE_KAFKA", f'{{"sasl_password": "{SECRET}"')
    with pytest.raises(RaytideError, match="RAYTIDE_KAFKA is not JSON") as caught:
        configuration.load(tmp_path)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_variable_has_the_token_for_a_client_and_the_command_line_has_no_option_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN", SECRET)
    token = configuration.client_section(tmp_path).token
    assert token
    assert token.get_secret_value() == SECRET
    sources = [file.read_text(encoding="utf-8") for file in (Path(__file__).parents[2] / "raytide").glob("cli*.py")]
    assert sources
    assert not [source for source in sources if "--token" in source or "--password" in source]
