"""Connections to one Redis server on which hand-packed commands travel, many in flight."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as ConnectionLost
from redis.retry import Retry

from cluster.config import OnlineStoreConfig
from cluster.errors import Misconfigured
from cluster.monitoring.metrics import NO_METRICS, REDIS_ERRORS, Metrics
from cluster.stores.redis_errors import translate

#: Gone when tried again on a new connection: the server was restarted, or its scripts were flushed.
_ONCE_MORE = (ConnectionLost, NoScriptError)
#: Kinds of ConnectionLost that another connection does not mend.
_NOT_AGAIN = (AuthenticationError, BusyLoadingError)


class RedisConnections:
    """For any number of threads; each exchange has a connection for itself.

    redis-py's pool only makes them. Its way of lending looks at the socket first, which costs a system call, and
    says nothing about a moment later; an exchange on a lost connection is repeated in any case.
    """

    def __init__(self, url: str, config: OnlineStoreConfig, metrics: Metrics = NO_METRICS) -> None:
        self._seconds, self._metrics = config.timeout_ms / 1000, metrics
        self._made: list[Any] = []
        self._free: deque[Any] = deque()
        try:
            self._pool = redis.ConnectionPool.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                client_name="raytide",
                # The threads that share them are their bound; redis-py's own, 100, fails the others at once.
                max_connections=sys.maxsize,
                **_access(config),
            )
        except ValueError:  # its text may quote a password
            raise Misconfigured(
                "online_store.connection_string is not a Redis address; write redis://[user:password@]host:port/db",
            ) from None
        self.address = _address(self._pool.connection_kwargs)

    def exchange(self, pieces: Callable[[], Iterable[Sequence[bytes]]], silence_s: float | None = None) -> list[Any]:
        """Send all commands (in protocol text; those of a piece at once), then read a reply for each; return the replies.

        Call `pieces` again, once, when the connection turns out to be lost or a script unknown: repeating the commands
        must be harmless. The server may stay silent for `silence_s`, or for the timeout. Raise the errors of
        `redis_errors`; after one, some of the commands may have been carried out.
        """
        seconds = self._seconds if silence_s is None else silence_s
        connection = self._take()
        try:
            try:
                return _exchange(connection, pieces(), seconds)
            except _ONCE_MORE as error:
                if isinstance(error, _NOT_AGAIN):
                    raise
                return _exchange(connection, pieces(), seconds)
        except (RedisError, OSError) as error:
            ours = translate(error, self.address)
            self._metrics.add(REDIS_ERRORS, 1, type(ours).__name__)
            raise ours from error
        finally:
            self._free.append(connection)

    def _take(self) -> Any:
        """Return a connection for one exchange: the one used last, or a new one."""
        try:
            return self._free.pop()
        except IndexError:
            connection = self._pool.make_connection()
            self._made.append(connection)
            return connection

    def close(self) -> None:
        """Close the connections."""
        for connection in self._made:
            connection.disconnect()


def _exchange(connection: Any, pieces: Iterable[Sequence[bytes]], seconds: float) -> list[Any]:
    connection.socket_timeout = connection.socket_connect_timeout = seconds
    try:
        connection.connect()  # returns at once when it is connected
        connection.update_current_socket_timeout(seconds)
        sent = 0
        for piece in pieces:
            connection.send_packed_command([b"".join(piece)], check_health=False)
            sent += len(piece)
        return [connection.read_response() for _ in range(sent)]
    except BaseException:
        # Replies may still be on their way: the next user would take them for its own.
        connection.disconnect()
        raise


def _access(config: OnlineStoreConfig) -> dict[str, Any]:
    """Return what is set beside the URL, as redis-py names it."""
    settings = {
        "username": config.username,
        "password": config.password.get_secret_value() if config.password else None,
        "ssl_ca_certs": config.ssl_cafile,
        "ssl_certfile": config.ssl_certfile,
        "ssl_keyfile": config.ssl_keyfile,
    }
    return {name: value for name, value in settings.items() if value}


def _address(settings: dict[str, Any]) -> str:
    """Return where the server is, without user and password."""
    if path := settings.get("path"):
        return f"unix:{path}"
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{settings.get('db', 0)}"
