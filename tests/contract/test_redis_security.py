"""A real Redis-compatible server with a password, with an access control list, and behind TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from pydantic import SecretStr

from cluster.config import OnlineStoreConfig
from cluster.errors import Misconfigured, Unreachable
from cluster.preflight import check_redis
from cluster.records import ROWS_SCHEMA
from cluster.stores.redis import RedisOnlineStore
from tests.certificates import Authority, Pair
from tests.services import valkey_server

pytestmark = pytest.mark.stack
SECRET = "hunter2-and-more"  # noqa: S105 - planted
NOW = 1_767_225_600_000_000
#: What docs/security.md tells to allow.
ALLOWED = "~entity:* ~raytide:* +@read +@write +@scripting +@connection +select"


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey_server(tmp_path_factory) as url:
        yield url


def works(url: str, config: OnlineStoreConfig) -> None:
    """Do everything that the online store does."""
    check_redis(url, config)
    store = RedisOnlineStore(url, config)
    try:
        columns = [["u1"], ["x"], [1.5], [NOW], [NOW], [0]]
        rows = pa.table(columns, names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)
        store.write(rows)
        assert store.read(["u1"], ["x"]).values[0].tolist() == [1.5]
        assert ["u1"] in list(store.entities())
        store.mark("one")
        assert (store.marker(), store.remark("one", "two")) == ("one", True)
        assert store.retract(rows) == 1
        store.ping()
    finally:
        store.close()


def test_a_user_of_an_access_control_list_is_enough(own_redis: str) -> None:
    with redis.Redis.from_url(own_redis) as server:
        server.execute_command("ACL", "SETUSER", "raytide", "on", f">{SECRET}", *ALLOWED.split())
        try:
            works(own_redis, OnlineStoreConfig(username="raytide", password=SecretStr(SECRET)))
            works(own_redis.replace("redis://", f"redis://raytide:{SECRET}@"), OnlineStoreConfig())
            with pytest.raises(Misconfigured, match="refuses the user or password") as caught:
                works(own_redis, OnlineStoreConfig(username="raytide", password=SecretStr(f"{SECRET}-not")))
            assert SECRET not in str(caught.value)
            server.execute_command("ACL", "SETUSER", "raytide", "-@write")
            with pytest.raises(Misconfigured, match="does not let this user"):
                works(own_redis, OnlineStoreConfig(username="raytide", password=SecretStr(SECRET)))
        finally:
            server.execute_command("ACL", "DELUSER", "raytide")


def test_a_password_for_everybody(own_redis: str) -> None:
    with redis.Redis.from_url(own_redis) as server:
        server.config_set("requirepass", SECRET)
        try:
            works(own_redis, OnlineStoreConfig(password=SecretStr(SECRET)))
            with pytest.raises(Misconfigured, match="wants one; correct"):
                works(own_redis, OnlineStoreConfig())
        finally:
            server.config_set("requirepass", "")


@contextlib.contextmanager
def tls_in_front(url: str, pair: Pair, client_ca: Path | None = None) -> Iterator[str]:
    """Give the URL of a relay that speaks TLS and passes on to the server: the local stack's is built without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    host, port = url.removeprefix("redis://").partition("/")[0].split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, context, (host, int(port))), daemon=True).start()
    try:
        yield f"rediss://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, behind: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=_relay, args=(plain, context, behind), daemon=True).start()


def _relay(plain: socket.socket, context: ssl.SSLContext, behind: tuple[str, int]) -> None:
    with contextlib.suppress(OSError), plain, socket.create_connection(behind) as server:
        client = context.wrap_socket(plain, server_side=True)
        with client:
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            server.shutdown(socket.SHUT_RDWR)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def test_tls_with_an_authority_of_ones_own(own_redis: str, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    with tls_in_front(own_redis, authority.sign("redis")) as url:
        works(url, OnlineStoreConfig(ssl_cafile=str(authority.ca)))
        for config in (OnlineStoreConfig(ssl_cafile=str(stranger.ca)), OnlineStoreConfig()):
            with pytest.raises(Unreachable, match="ssl_cafile"):
                works(url, config)


def test_mutual_tls(own_redis: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    mine = authority.sign("mine")
    with tls_in_front(own_redis, authority.sign("redis"), authority.ca) as url:
        ca = str(authority.ca)
        works(url, OnlineStoreConfig(ssl_cafile=ca, ssl_certfile=str(mine.cert), ssl_keyfile=str(mine.key)))
        with pytest.raises(Unreachable):
            works(url, OnlineStoreConfig(ssl_cafile=ca))
