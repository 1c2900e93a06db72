"""Connections to one Redis server on which hand-packed commands travel, many in flight."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as ConnectionLost
from redis.retry import Retry

from cluster.config import OnlineStoreConfig
from cluster.errors import Misconfigured
from cluster.stores.redis_errors import translate

#: Gone when tried again on a new connection: the server was restarted, or its scripts were flushed.
_ONCE_MORE = (ConnectionLost, NoScriptError)
#: Kinds of ConnectionLost that another connection does not mend.
_NOT_AGAIN = (AuthenticationError, BusyLoadingError)


class RedisConnections:
    """A pool for any number of threads; each exchange has a connection for itself."""

    def __init__(self, url: str, config: OnlineStoreConfig) -> None:
        seconds = config.timeout_ms / 1000
        try:
            self._pool = redis.ConnectionPool.from_url(
                url,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                client_name="raytide",
                # The threads that share the pool are its bound; redis-py's own, 100, fails the others at once.
                max_connections=sys.maxsize,
                **_access(config),
            )
        except ValueError:  # its text may quote a password
            raise Misconfigured(
                "online_store.connection_string is not a Redis address; write redis://[user:password@]host:port/db",
            ) from None
        self.address = _address(self._pool.connection_kwargs)

    def exchange(self, pieces: Callable[[], Iterable[Sequence[bytes]]]) -> list[Any]:
        """Send all commands (in protocol text; those of a piece at once), then read a reply for each; return the replies.

        Call `pieces` again, once, when the connection turns out to be lost or a script unknown: repeating the commands
        must be harmless. The server may stay silent for the timeout. Raise the errors of `redis_errors`; after one,
        some of the commands may have been carried out.
        """
        try:
            try:
                return self._exchange(pieces())
            except _ONCE_MORE as error:
                if isinstance(error, _NOT_AGAIN):
                    raise
                return self._exchange(pieces())
        except (RedisError, OSError) as error:
            raise translate(error, self.address) from error

    def _exchange(self, pieces: Iterable[Sequence[bytes]]) -> list[Any]:
        connection = self._pool.get_connection()
        try:
            sent = 0
            for piece in pieces:
                connection.send_packed_command([b"".join(piece)], check_health=False)
                sent += len(piece)
            return [connection.read_response() for _ in range(sent)]
        except BaseException:
            # Replies may still be on their way: the next user would take them for its own.
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()


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
