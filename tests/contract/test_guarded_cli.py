"""The command line at a gateway with TLS, certificates of clients and tokens, as a project and the environment have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.config import GatewayConfig
from cluster.errors import RaytideError
from raytide.cli import app
from raytide.cli_output import exit_code
from tests.certificates import Authority
from tests.guarded_gateway import ADMIN, READER, one_of_each, serving

Run = Callable[..., Result]
PROJECT = "project: shop\nclient: {ca: ca.pem, cert: user.crt, key: user.key}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a verb in a folder where the app was started, with settings of the client in the environment."""
    authority = Authority(tmp_path)
    gateway, _ = authority.sign("gateway"), authority.sign("user")
    authority.sign("old", timedelta(hours=-1))
    Authority(tmp_path, "stranger").sign("foreign")
    config = GatewayConfig(
        port=0,
        tls_cert=str(gateway.cert),
        tls_key=str(gateway.key),
        tls_client_ca=str(authority.ca),
        tokens=one_of_each(tmp_path),
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "feature_store.yaml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "rows.csv").write_text("x\n1\n", encoding="utf-8")
    with serving(config) as address:
        (tmp_path / ".raytide").mkdir()
        (tmp_path / ".raytide" / "app.json").write_text(json.dumps({"gateway": address, "config": str(tmp_path)}))

        def verb(*arguments: str, **client: str) -> Result:
            return CliRunner(env={f"RAYTIDE_CLIENT__{name}".upper(): value for name, value in client.items()}).invoke(
                app, arguments
            )

        yield verb


def test_those_who_may_are_answered(run: Run) -> None:
    for arguments, token, said in (
        (("status",), READER, "shop"),
        (("get-online", "u1", "-f", "age"), READER, "NOT_FOUND"),
        (("sql", "SELECT 1"), ADMIN, "n"),
    ):
        done = run(*arguments, token=token)
        assert (done.exit_code, said in done.stdout) == (0, True), done.output


@pytest.mark.parametrize(
    ("arguments", "client", "code", "said"),
    [
        (["status"], {}, 2, "RAYTIDE_CLIENT__TOKEN"),
        (["status"], {"token": "x" * 40}, 2, "does not know the token"),
        (["sql", "SELECT 1"], {"token": READER}, 2, "for the role admin"),
        (["ingest", "rows.csv", "-s", "features"], {"token": READER}, 2, "for the role writer"),
        (["status"], {"token": READER, "cert": "old.crt", "key": "old.key"}, 3, "client.cert"),
        (["status"], {"token": READER, "cert": "foreign.crt", "key": "foreign.key"}, 3, "client.cert"),
        (["status"], {"token": READER, "ca": "stranger.pem"}, 3, "client.ca"),
        (["status"], {"token": READER, "ca": "nowhere.pem"}, 2, "client.ca nowhere.pem cannot be read"),
        (["status"], {"token": READER, "token_file": "tokens"}, 2, "leave one of them out"),
    ],
)
def test_the_others_are_told_why_and_what_to_do(
    run: Run, arguments: list[str], client: dict[str, str], code: int, said: str
) -> None:
    done = run(*arguments, **client)
    told, ended = (
        (str(done.exception), exit_code(done.exception))
        if isinstance(done.exception, RaytideError)
        else (done.output, done.exit_code)
    )
    assert (ended, said in " ".join(told.split())) == (code, True), told
    assert not [secret for secret in (READER, "x" * 40) if secret in told + done.output]
