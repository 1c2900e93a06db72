from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cluster import config
from cluster.errors import Misconfigured


def write(folder: Path, text: str) -> Path:
    (folder / config.FILE_NAME).write_text(text, encoding="utf-8")
    return folder


def test_the_shortest_file_gives_every_default(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, "project: demo\n"))
    assert (loaded.project, loaded.gateway.port, loaded.kafka.bootstrap_servers) == ("demo", 50051, None)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTIDE_KAFKA__BOOTSTRAP_SERVERS", "broker:9092")
    loaded = config.load(write(tmp_path, "project: demo\nkafka:\n  bootstrap_servers: other:1\n  group_id: mine\n"))
    assert (loaded.kafka.bootstrap_servers, loaded.kafka.group_id) == ("broker:9092", "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("project: demo\nkafak: {}\n", "kafak: unknown key; did you mean 'kafka'?"),
        ("project: demo\nworkers: {maxx: 3}\n", "workers.maxx: unknown key; did you mean 'max'?"),
        ("project: demo\nworkers: {zzz: 3}\n", "known here: lease_seconds, max, reserved_for_streams"),
        ("project: Demo!\n", "project:"),
        ("kafka: {}\n", "project: is required; add `project: my_project`"),
        ("project: demo\ngateway: {port: 70000}\n", "gateway.port:"),
        ("project: demo\ngateway: {processes: 0}\n", "gateway.processes:"),
        ("project: demo\ngateway: {processes: 65}\n", "gateway.processes:"),
        ("project: demo\nworkers: {max: 4, reserved_for_streams: 4}\n", "must be below"),
        ("project: demo\nkafka: {min_insync_replicas: 2}\n", "kafka.min_insync_replicas 2 is more than"),
        ("project: demo\nkafka: {replication_factor: 2, min_insync_replicas: 3}\n", "set that to one more"),
        ("- a\n- b\n", "must be a mapping"),
        ("project: [\n", "cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as error:
        config.load(write(tmp_path, text))
    assert said in str(error.value)


def test_a_misspelt_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTIDE_GATEWAY__PROT", "1")
    with pytest.raises(Misconfigured, match=r"gateway\.prot: unknown key; did you mean 'port'"):
        config.load(write(tmp_path, "project: demo\n"))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="--project"):
        config.load(tmp_path)


def test_secrets_are_masked(tmp_path: Path) -> None:
    text = "project: demo\nkafka: {sasl_password: hunter2}\nonline_store: {connection_string: 'redis://:hunter2@r/0'}\n"
    assert "hunter2" not in repr(config.load(write(tmp_path, text)))


def test_a_wrong_secret_is_not_printed(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        config.load(write(tmp_path, "project: demo\nkafka: {sasl_password: [hunter2]}\n"))
    assert "hunter2" not in str(error.value)


def test_configuration_is_frozen(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, "project: demo\n"))
    with pytest.raises(ValidationError):
        loaded.gateway.port = 1  # type: ignore[misc] # frozen is what we test


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN}",
            "needs sasl_mechanism, sasl_username and sasl_password",
        ),
        ("kafka: {sasl_mechanism: PLAIN}", "is not used with PLAINTEXT"),
        ("kafka: {ssl_cafile: ca.pem}", "set security_protocol to SSL"),
        ("online_store: {connection_string: 'redis://:12/s@h/0'}", "are written %2F %3F %23"),
        ("online_store: {connection_string: 'redis://h/0', ssl_cafile: ca.pem}", "begin with rediss://"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Misconfigured) as error:
        config.load(write(tmp_path, f"project: demo\n{text}\n"))
    assert said in str(error.value)


def test_a_client_needs_nothing_of_a_project_but_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, "project: Wrong!\nclient: {ca: ca.pem}\n")
    monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN_FILE", "mine")
    for path in (folder, folder / config.FILE_NAME):
        assert config.client_section(path) == config.ClientConfig(ca="ca.pem", token_file="mine")  # noqa: S106 - a path
    assert config.client_section(None) == config.ClientConfig(token_file="mine")  # noqa: S106 - a path
    with pytest.raises(Misconfigured, match=r"client\.tokn: unknown key; did you mean 'token'"):
        config.client_section(write(tmp_path, "client: {tokn: a}\n"))


def test_files_of_certificates_and_tokens_get_full_paths(tmp_path: Path) -> None:
    text = "project: demo\ngateway: {tokens: t, tls_cert: /c}\nkafka: {ssl_cafile: k, security_protocol: SSL}\n"
    rooted = config.rooted(config.load(write(tmp_path, text)), tmp_path)
    assert (rooted.gateway.tokens, rooted.gateway.tls_cert) == (str(tmp_path / "t"), "/c")
    assert (rooted.kafka.ssl_cafile, rooted.online_store.ssl_cafile) == (str(tmp_path / "k"), None)
