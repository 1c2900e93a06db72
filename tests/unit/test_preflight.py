"""A path that cannot be written is named before anything starts."""

from pathlib import Path

import pytest

from cluster.config import GatewayConfig, OnlineStoreConfig
from cluster.errors import Misconfigured, Unreachable
from cluster.preflight import check_gateway, check_redis, check_writable


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "features.duckdb")
    assert (tmp_path / "new").is_dir()


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(Misconfigured, match=r"offline_store\.path .*taken.* cannot be written \(.+\): name a file"):
        check_writable(tmp_path / "taken" / "features.duckdb")


def test_a_redis_that_is_not_there_is_named() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        check_redis("redis://:secret@127.0.0.1:1/0", OnlineStoreConfig(timeout_ms=500))


def test_a_gateway_that_could_not_start_is_named(tmp_path: Path) -> None:
    check_gateway(GatewayConfig())
    with pytest.raises(Misconfigured, match="without TLS"):
        check_gateway(GatewayConfig(host="192.0.2.1"))
    with pytest.raises(Misconfigured, match=r"gateway\.tokens .* cannot be read"):
        check_gateway(GatewayConfig(tokens=str(tmp_path / "none")))
    with pytest.raises(Misconfigured, match=r"gateway\.tls_cert .* cannot be read"):
        check_gateway(GatewayConfig(tls_cert=str(tmp_path / "none"), tls_key=str(tmp_path / "none")))
