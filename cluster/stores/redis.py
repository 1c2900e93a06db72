"""The online store: the newest values in a Redis-compatible server (docs/formats.md, decision 0004)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import pyarrow as pa

from cluster.config import OnlineStoreConfig
from cluster.monitoring.metrics import NO_METRICS, Metrics
from cluster.stores.ports import OnlineValues
from cluster.stores.redis_connections import RedisConnections
from cluster.stores.redis_packing import KEY_PREFIX, command, pack, pack_retraction
from cluster.stores.redis_reading import pack_reads, to_matrices
from cluster.stores.redis_windows import RedisWindowStore, pack_window_reads, to_cells
from cluster.windows.panes import Pane
from cluster.windows.ports import CellsRead

MARKER_KEY = "raytide:marker"

_SCRIPT = files("cluster.stores").joinpath("newest_wins.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()
_REMARK = b"""
local found = redis.call('GET', KEYS[1])
if found == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return (found == ARGV[1] or found == ARGV[2]) and 1 or 0"""
#: Rows that are packed and sent while the server works on those before.
_PIECE = 8_192


class RedisOnlineStore:
    """Meets `OnlineStore`; any number of threads may use it. Reads and writes raise the errors of `redis_errors`."""

    def __init__(self, url: str, config: OnlineStoreConfig, metrics: Metrics = NO_METRICS) -> None:
        self._connections = RedisConnections(url, config, metrics)
        self._entities_per_call = config.entities_per_call
        self.windows = RedisWindowStore(self._connections)

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

    def read(self, entity_ids: Sequence[str], features: Sequence[str], silence_s: float | None = None) -> OnlineValues:
        """Return what is stored for every pair, in one round trip."""
        commands = pack_reads(entity_ids, features) if features else []
        replies = self._connections.exchange(lambda: [commands], silence_s) if commands else []
        return to_matrices(replies, (len(entity_ids), len(features)))

    def read_with_windows(
        self, entity_ids: Sequence[str], features: Sequence[str], panes: Sequence[Pane], silence_s: float | None = None
    ) -> tuple[OnlineValues, CellsRead]:
        """Return what is stored for every pair, and all cells, in one round trip."""
        values = pack_reads(entity_ids, features) if features else []
        commands = [*values, *pack_window_reads(panes, entity_ids)]
        replies = self._connections.exchange(lambda: [commands], silence_s)
        matrices = to_matrices(replies[: len(values)], (len(entity_ids), len(features)))
        return matrices, to_cells(replies[len(values) :], panes, len(entity_ids))

    def retract(self, rows: pa.Table) -> int:
        """Remove the values whose times are exactly those of the rows; for few rows."""
        commands = [pack_retraction(row) for row in rows.to_pylist()]
        return sum(self._connections.exchange(lambda: [commands])) if commands else 0

    def entities(self, batch: int = 1000) -> Iterator[list[str]]:
        """Return all entity ids by SCAN: those there from start to end at least once, others perhaps."""
        cursor = b"0"
        while True:
            cursor, keys = self._ask(b"SCAN", cursor, b"MATCH", f"{KEY_PREFIX}*".encode(), b"COUNT", b"%d" % batch)
            if keys:
                yield [key.decode(errors="replace").removeprefix(KEY_PREFIX) for key in keys]
            if cursor == b"0":
                return

    def marker(self) -> str | None:
        """Return the marker's text, or None when it was never set or is lost."""
        text = self._ask(b"GET", MARKER_KEY.encode())
        return None if text is None else text.decode(errors="replace")

    def mark(self, text: str) -> None:
        """Set the marker, whatever it was."""
        self._ask(b"SET", MARKER_KEY.encode(), text.encode())

    def remark(self, old: str, new: str) -> bool:
        """Set the marker to `new` if it still is `old`; return whether it is `new` now.

        Asked again after a lost answer, it says the same.
        """
        return bool(self._ask(b"EVAL", _REMARK, b"1", MARKER_KEY.encode(), old.encode(), new.encode()))

    def ping(self) -> None:
        """Return when the server answers; raise Unreachable when it does not."""
        self._ask(b"PING")

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()

    def _ask(self, *arguments: bytes) -> Any:
        (reply,) = self._connections.exchange(lambda: [[command(*arguments)]])
        return reply
