"""TLS, certificates of clients and tokens from a project's configuration to its users: real parts, and the real command."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.errors import Forbidden, Unauthenticated, Unreachable
from cluster.stores.ports import UploadState
from raytide import AsyncFeatureStore, FeatureStore
from tests.certificates import Authority
from tests.stack.conftest import ROOT, SECONDS, environment

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(400)]

TOKENS = {"reader": "scoring-" + "r" * 32, "writer": "loader-" + "w" * 32, "admin": "operator-" + "a" * 32}
NOW = datetime.now(UTC).isoformat()
PROJECT = """
project: demo
gateway:
  processes: 2
  tls_cert: certs/gateway.crt
  tls_key: certs/gateway.key
  tls_client_ca: certs/ca.pem
  tokens: certs/tokens
client:
  ca: certs/ca.pem
  cert: certs/user.crt
  key: certs/user.key
"""


class Guarded:
    """A project in a folder, and the command line there, as whoever has the given settings."""

    def __init__(self, folder: Path) -> None:
        self.folder, certs = folder, folder / "certs"
        certs.mkdir()
        authority, stranger = Authority(certs), Authority(certs, "stranger")
        for name in ("gateway", "user"):
            authority.sign(name)
        authority.sign("old", timedelta(hours=-1))
        stranger.sign("foreign")
        self.tokens({name: name for name in TOKENS})
        shutil.copy(ROOT / "examples" / "demo" / "definitions.py", folder)
        (folder / "feature_store.yaml").write_text(PROJECT, encoding="utf-8")

    def tokens(self, roles: dict[str, str]) -> None:
        """Write who has which role."""
        file = self.folder / "certs" / "tokens"
        file.touch(mode=0o600)
        file.write_text("".join(f"{name} {role} {TOKENS[name]}\n" for name, role in roles.items()), encoding="utf-8")

    def raytide(self, *arguments: str, **client: str) -> subprocess.CompletedProcess[str]:
        """Run a verb with `client` in the environment."""
        settings = {f"RAYTIDE_CLIENT__{name.upper()}": value for name, value in client.items()}
        return subprocess.run(
            [sys.executable, "-m", "cluster", *arguments],
            cwd=self.folder,
            env={**environment(), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def done(self, *arguments: str, **client: str) -> str:
        """Run a verb that has to work, and return what it said."""
        done = self.raytide(*arguments, **client)
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def told(self, *arguments: str, **client: str) -> tuple[int, str]:
        """Run a verb that must not work; return its exit code, and what it said on one line."""
        done = self.raytide(*arguments, **client)
        assert "Traceback" not in done.stderr
        assert not [secret for secret in TOKENS.values() if secret in done.stdout + done.stderr]
        return done.returncode, " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("a guarded app"))
    guarded.done("stack", "up", "--kafka-port", "0", "--redis-port", "0")
    try:
        guarded.done("up")
        yield guarded
        guarded.done("down")
    finally:
        guarded.raytide("down")
        guarded.raytide("stack", "down")


@pytest.fixture
def rows(app: Guarded) -> Path:
    path = app.folder / "rows.csv"
    path.write_text(f"entity_id,feature_name,value,validated_at\nu1,risk_score,0.5,{NOW}\n", encoding="utf-8")
    return path


def test_those_who_may_are_served(app: Guarded, rows: Path) -> None:
    app.done("up")  # over a running one
    sent = json.loads(app.done("ingest", str(rows), "--source", "features", "--json", token=TOKENS["writer"]))
    assert [file["state"] for file in sent["files"]] == ["DONE"]
    counted = app.done("sql", "SELECT count(*) AS n FROM features WHERE entity_id = 'u1'", "--json", token=TOKENS["admin"])
    assert json.loads(counted) == [{"n": 1}]
    assert "PRESENT" in app.done("get-online", "u1", "-f", "risk_score", token=TOKENS["reader"])
    status = json.loads(app.done("status", "--json", token=TOKENS["reader"]))
    assert [gateway["state"] for gateway in status["gateways"]] == ["RUNNING", "RUNNING"]
    assert json.loads(app.done("verify", "--json", token=TOKENS["admin"]))["ok"]


@pytest.mark.parametrize(
    ("client", "code", "said"),
    [
        ({}, 2, "RAYTIDE_CLIENT__TOKEN"),
        ({"token": "x" * 40}, 2, "does not know the token"),
        ({"token": TOKENS["reader"], "cert": "certs/old.crt", "key": "certs/old.key"}, 3, "client.cert"),
        ({"token": TOKENS["reader"], "cert": "certs/foreign.crt", "key": "certs/foreign.key"}, 3, "client.cert"),
        ({"token": TOKENS["reader"], "ca": "certs/stranger.pem"}, 3, "client.ca"),
        ({"token": TOKENS["reader"], "ca": "certs/nowhere.pem"}, 2, "client.ca"),
        ({"token": TOKENS["reader"], "token_file": "certs/tokens"}, 2, "leave one of them out"),
    ],
    ids=["no token", "wrong token", "expired", "foreign", "stranger", "no file", "two tokens"],
)
def test_those_who_are_not_known_are_told_what_to_do(app: Guarded, client: dict[str, str], code: int, said: str) -> None:
    for verb in (["status"], ["sql", "SELECT 1"]):
        exit_code, sentence = app.told(*verb, **client)
        assert (exit_code, said in sentence) == (code, True), sentence


def test_roles_are_told_apart(app: Guarded, rows: Path) -> None:
    for verb, role in ((["ingest", str(rows), "--source", "features"], "writer"), (["sql", "SELECT 1"], "admin")):
        code, sentence = app.told(*verb, token=TOKENS["reader"])
        assert (code, f"for the role {role}" in sentence) == (2, True), sentence


def test_a_token_that_is_taken_away_counts_in_every_process(app: Guarded) -> None:
    app.tokens({"admin": "admin"})
    try:
        for _ in range(4):  # each a new connection, to either process
            assert app.told("status", token=TOKENS["reader"])[0] == 2
    finally:
        app.tokens({name: name for name in TOKENS})
    app.done("status", token=TOKENS["reader"])


def test_python_clients_take_the_projects_settings(app: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.folder)
    monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN", TOKENS["writer"])
    frame = pd.DataFrame({"entity_id": ["u2"], "feature_name": ["risk_score"], "value": [0.75], "validated_at": [NOW]})
    asked = {"features": ["risk_score"], "entity_rows": [{"user_id": "u2"}]}

    async def later() -> dict[str, list[Any]]:
        async with AsyncFeatureStore(app.folder) as store:
            return (await store.get_online_features(**asked)).to_dict()  # type: ignore[arg-type] # as written above

    with FeatureStore(app.folder) as store:
        assert store.push("features", frame).state is UploadState.DONE
        answer = store.get_online_features(**asked).to_dict()  # type: ignore[arg-type] # as above
        assert answer == asyncio.run(later()) == {"user_id": ["u2"], "risk_score": [0.75]}
        with pytest.raises(Forbidden, match="for the role admin"):
            store.client.sql("SELECT 1")
    monkeypatch.setenv("RAYTIDE_CLIENT__TOKEN", "x" * 40)
    with FeatureStore(app.folder) as store, pytest.raises(Unauthenticated):
        store.get_online_features(**asked)  # type: ignore[arg-type] # as above
    monkeypatch.setenv("RAYTIDE_CLIENT__CERT", "certs/old.crt")
    monkeypatch.setenv("RAYTIDE_CLIENT__KEY", "certs/old.key")
    with FeatureStore(app.folder, timeout_s=20) as store, pytest.raises(Unreachable, match=r"client\.cert"):
        store.get_online_features(**asked)  # type: ignore[arg-type] # as above
