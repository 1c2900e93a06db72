"""The online store: the newest values in a Redis-compatible server (docs/formats.md, decision 0004)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import pyarrow as pa

from cluster.config import OnlineStoreConfig
from cluster.stores.ports import OnlineValues
from cluster.stores.redis_connections import RedisConnections
from cluster.stores.redis_packing import KEY_PREFIX, command, pack
from cluster.stores.redis_reading import pack_reads, to_columns

MARKER_KEY = "raytide:marker"

_SCRIPT = files("cluster.stores").joinpath("newest_wins.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()
#: Rows that are packed and sent while the server works on those before.
_PIECE = 8_192


class RedisOnlineStore:
    """Meets `OnlineStore`; any number of threads may use it. Reads and writes raise the errors of `redis_errors`."""

    def __init__(self, url: str, config: OnlineStoreConfig) -> None:
        self._connections = RedisConnections(url, config.timeout_ms)
        self._entities_per_call = config.entities_per_call

    def write(self, rows: pa.Table) -> int:
        """Let rows replace what is stored unless that is newer; rows that `merge.newest` ordered go fastest."""
        if not len(rows):
            return 0
        _, *replaced = self._connections.exchange(lambda: self._pieces(rows))
        return sum(replaced)

    def _pieces(self, rows: pa.Table) -> Iterator[Sequence[bytes]]:
        # Loading first costs microseconds and spares a round trip after each restart of the server.
        yield [command(b"SCRIPT", b"LOAD", _SCRIPT)]
        for start in range(0, len(rows), _PIECE):
            yield list(pack(rows.slice(start, _PIECE), self._entities_per_call, _SHA))

    def read(self, entity_ids: Sequence[str], features: Sequence[str]) -> OnlineValues:
        """Return what is stored for every pair, in one round trip."""
        replies = self._connections.exchange(lambda: [pack_reads(entity_ids, features)]) if features else []
        return to_columns(replies, len(features))

    def entities(self, batch: int = 1000) -> Iterator[list[str]]:
        """Return all entity ids by SCAN: those there from start to end at least once, others perhaps."""
        cursor = b"0"
        while True:
            cursor, keys = self._ask(b"SCAN", cursor, b"MATCH", f"{KEY_PREFIX}*".encode(), b"COUNT", b"%d" % batch)
            if keys:
                yield [key.decode(errors="replace").removeprefix(KEY_PREFIX) for key in keys]
            if cursor == b"0":
                return

    def mark(self) -> None:
        """Leave the sign by which an emptied Redis is told from one that was never filled."""
        self._ask(b"SET", MARKER_KEY.encode(), b"1")

    def has_marker(self) -> bool:
        """Tell whether `mark` was called since the Redis was empty."""
        return bool(self._ask(b"EXISTS", MARKER_KEY.encode()))

    def ping(self) -> None:
        """Return when the server answers; raise Unreachable when it does not."""
        self._ask(b"PING")

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()

    def _ask(self, *arguments: bytes) -> Any:
        (reply,) = self._connections.exchange(lambda: [[command(*arguments)]])
        return reply
