"""The client on a machine where nothing but `pip install raytide` was done: no Ray, no DuckDB, no Kafka, no Redis."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cluster.config import GatewayConfig
from tests.client_environment import ROOT, client_environment, python
from tests.online_world import NOW, OnlineBackend, put, serving
from tests.upload_gateway import UploadGateway
from tests.upload_gateway import serving as serving_uploads

#: What runs the app, and must not be needed here.
SERVER = ("ray", "duckdb", "redis", "hiredis", "kafka", "crc32c", "jgo")
READS = """
import asyncio, importlib.util, json, sys
import raytide

async def later(address):
    async with raytide.AsyncFeatureStore(address) as store:
        return (await store.get_online_features("scoring", [{"user_id": "u1"}])).to_dict()

store = raytide.FeatureStore(sys.argv[1])
now = store.get_online_features(["profile:user_age", "risk"], [{"user_id": "u1"}, {"user_id": 2}]).to_dict()
there = [name for name in sys.argv[2:] if importlib.util.find_spec(name)]
print(json.dumps({"now": now, "later": asyncio.run(later(sys.argv[1])), "there": there}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return client_environment(tmp_path_factory.mktemp("packages"))


def run(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = python(*arguments)
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_both_stores_read(environment: dict[str, str], tmp_path: Path) -> None:
    backend = OnlineBackend()
    put(backend.online, [("u1", "user_age", 41.0, NOW), ("u1", "risk_score", 0.5, NOW)])
    with serving(backend, GatewayConfig(port=0)) as address:
        done = run(environment, tmp_path, "-c", READS, address, *SERVER)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "now": {"user_id": ["u1", 2], "user_age": [41.0, None], "risk_score": [0.5, None]},
        "later": {"user_id": ["u1"], "user_age": [41.0], "account_balance": [None], "risk_score": [0.5]},
        "there": [],
    }


def test_the_command_line_sends_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    gateway = UploadGateway()
    (tmp_path / "orders.csv").write_text("user_id,amount\nu1,5\n", encoding="utf-8")
    with serving_uploads(gateway) as address:
        verb = ["-m", "cluster", "ingest", "orders.csv", "--source", "orders", "--address", address, "--json"]
        done = run(environment, tmp_path, *verb)
    assert done.returncode == 0, done.stderr
    assert [file["state"] for file in json.loads(done.stdout)["files"]] == ["DONE"]


@pytest.mark.parametrize("verb", [["up"], ["down"], ["apply"]])
def test_what_runs_the_app_says_what_it_needs(environment: dict[str, str], tmp_path: Path, verb: list[str]) -> None:
    (tmp_path / "feature_store.yaml").write_text((ROOT / "examples/demo/feature_store.yaml").read_text(encoding="utf-8"))
    (tmp_path / "definitions.py").write_text((ROOT / "examples/demo/definitions.py").read_text(encoding="utf-8"))
    done = run(environment, tmp_path, "-m", "cluster", *verb)
    assert done.returncode == 2
    assert "raytide[server,stack]" in done.stderr
    assert "Traceback" not in done.stderr
