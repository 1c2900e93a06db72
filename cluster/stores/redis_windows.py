"""The cells of windows in Redis: a hash for each entity of a pane, and one that says what they hold (docs/formats.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from cluster.errors import Misconfigured
from cluster.stores.redis_connections import RedisConnections
from cluster.stores.redis_packing import command
from cluster.windows.panes import Pane
from cluster.windows.ports import CellsRead, PaneCells, WindowState

STATE_KEY = b"raytide:windows"
CELLS_PREFIX = "raytide:window"
_READY = "pane:"
#: Cells in one script call: the server answers nobody else meanwhile.
_CELLS_PER_CALL = 500
#: A hash that nobody writes to lives this much longer than its youngest cell can matter.
_SLACK_S = 86_400
#: Old cells that a hash may have before they are taken out.
_SPARE_CELLS = 16

_CELLS = files("cluster.stores").joinpath("window_cells.lua").read_bytes()
_ENTITIES = files("cluster.stores").joinpath("window_entities.lua").read_bytes()
_MOVE = b"""
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
local row = redis.call('HGET', KEYS[1], 'row') or ''
if row ~= ARGV[2] and row ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[1], 'row', ARGV[3], 'until', ARGV[4])
return 1"""
_READY_ARE = b"""
if redis.call('HGET', KEYS[1], 'claim') ~= ARGV[1] then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 5) == 'pane:' then redis.call('HDEL', KEYS[1], field) end
end
for i = 2, #ARGV do redis.call('HSET', KEYS[1], 'pane:' .. ARGV[i], '1') end
return 1"""


class RedisWindowStore:
    """Meets `WindowStore` over an online store's connections."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections

    def claim(self, claim: str) -> WindowState:
        """Take the cells from whoever held them, and return what they hold."""
        self._ask(b"HSET", STATE_KEY, b"claim", claim.encode())
        return self.state()

    def state(self) -> WindowState:
        """Return what the cells hold, whoever keeps them."""
        found = self._ask(b"HGETALL", STATE_KEY)
        fields = dict(zip(_texts(found[::2]), _texts(found[1::2]), strict=True))
        panes = frozenset(name.removeprefix(_READY) for name in fields if name.startswith(_READY))
        row = int(fields["row"]) if "row" in fields else None
        return WindowState(row, int(fields.get("until", 0)), panes)

    def held(self, claim: str) -> tuple[int, int] | None:
        """Return what the cells hold, None when nobody knows or the claim is somebody else's."""
        holder, row, until_us = self._ask(b"HMGET", STATE_KEY, b"claim", b"row", b"until")
        return (int(row), int(until_us)) if holder == claim.encode() and row and until_us else None

    def cells(self, pane: Pane, entities: Sequence[str], numbers: Sequence[int]) -> list[bytes | None]:
        """Return some cells."""
        commands = [command(b"HGET", _key(pane, e), b"%d" % n) for e, n in zip(entities, numbers, strict=True)]
        return self._connections.exchange(lambda: [commands[p] for p in _parts(len(commands))]) if commands else []

    def put(self, claim: str, found: PaneCells, oldest: int) -> bool:
        """Put cells, or take out those without bytes; False when somebody else holds the claim."""
        pane = found.pane
        limits = [claim.encode(), b"%d" % (pane.most_cells + _SPARE_CELLS), b"%d" % oldest, _seconds(pane)]
        calls = []
        for part in _parts(len(found.cells)):
            keys = [_key(pane, entity) for entity in found.entities[part]]
            cells = zip(found.numbers[part], found.cells[part], strict=True)
            calls.append(_call(_CELLS, keys, [*limits, *(text for n, cell in cells for text in (b"%d" % n, cell))]))
        return self._run(calls, _CELLS)

    def replace(self, claim: str, pane: Pane, cells: dict[str, list[tuple[int, bytes]]]) -> bool:
        """Put all cells of entities in the place of those that they had; False when somebody else holds the claim."""
        calls = []
        for part in _by_size(cells):
            keys = [_key(pane, entity) for entity in part]
            texts = [t for entity in part for t in _counted(cells[entity])]
            calls.append(_call(_ENTITIES, keys, [claim.encode(), _seconds(pane), *texts]))
        return self._run(calls, _ENTITIES)

    def clear(self, pane: Pane) -> None:
        """Forget all cells of a pane."""
        cursor = b"0"
        while True:
            cursor, keys = self._ask(b"SCAN", cursor, b"MATCH", _key(pane, "*"), b"COUNT", b"1000")
            if keys:
                self._ask(b"UNLINK", *keys)
            if cursor == b"0":
                return

    def forget(self) -> None:
        """Forget what the cells hold: whoever keeps them fills them again."""
        self._ask(b"DEL", STATE_KEY)

    def move(self, claim: str, before: int | None, row: int, until_us: int) -> bool:
        """Say that the cells hold the ledger up to `row`, unless they hold something else than `before` or are claimed."""
        was = b"" if before is None else b"%d" % before
        return bool(self._ask(b"EVAL", _MOVE, b"1", STATE_KEY, claim.encode(), was, b"%d" % row, b"%d" % until_us))

    def ready(self, claim: str, panes: Sequence[Pane]) -> bool:
        """Say which panes can be read; False when somebody else holds the claim."""
        names = [pane.name.encode() for pane in panes]
        return bool(self._ask(b"EVAL", _READY_ARE, b"1", STATE_KEY, claim.encode(), *names))

    def read(self, panes: Sequence[Pane], entity_ids: Sequence[str], silence_s: float | None = None) -> CellsRead:
        """Return all cells of some entities, in one round trip."""
        commands = pack_window_reads(panes, entity_ids)
        return to_cells(self._connections.exchange(lambda: [commands], silence_s), panes, len(entity_ids))

    def _run(self, calls: Sequence[bytes], script: bytes) -> bool:
        if not calls:
            return True
        load = command(b"SCRIPT", b"LOAD", script)
        _, *done = self._connections.exchange(lambda: [[load], *([call] for call in calls)])
        return all(done)

    def _ask(self, *arguments: bytes) -> Any:
        (reply,) = self._connections.exchange(lambda: [[command(*arguments)]])
        return reply


def pack_window_reads(panes: Sequence[Pane], entity_ids: Sequence[str]) -> list[bytes]:
    """Return what asks for all cells of some entities, in protocol text."""
    ready = command(b"HMGET", STATE_KEY, *(f"{_READY}{pane.name}".encode() for pane in panes))
    return [ready, *(command(b"HGETALL", _key(pane, entity)) for pane in panes for entity in entity_ids)]


def to_cells(replies: Sequence[Any], panes: Sequence[Pane], entities: int) -> CellsRead:
    """Return the replies to `pack_window_reads`. Raise Misconfigured for text that Raytide does not write."""
    said, *cells = replies
    missing = [pane for pane, text in zip(panes, said, strict=True) if text is None]
    try:
        found = [([int(n) for n in reply[::2]], reply[1::2]) for reply in cells]
    except (ValueError, TypeError) as error:
        raise Misconfigured("Redis holds text under raytide:window:… that Raytide does not write; find who does") from error
    return CellsRead(missing, [found[start : start + entities] for start in range(0, len(found), entities)])


def _key(pane: Pane, entity: str) -> bytes:
    return f"{CELLS_PREFIX}:{pane.name}:{entity}".encode()


def _seconds(pane: Pane) -> bytes:
    return b"%d" % ((pane.length_us + pane.hop_us) // 1_000_000 + _SLACK_S)


def _call(script: bytes, keys: Sequence[bytes], arguments: Sequence[bytes]) -> bytes:
    sha = hashlib.sha1(script, usedforsecurity=False).hexdigest().encode()
    return command(b"EVALSHA", sha, b"%d" % (len(keys) + 1), STATE_KEY, *keys, *arguments)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _CELLS_PER_CALL) for start in range(0, count, _CELLS_PER_CALL)]


def _by_size(cells: dict[str, list[tuple[int, bytes]]]) -> Iterator[list[str]]:
    """Yield entities in lists with few cells; one that has many is alone."""
    part: list[str] = []
    size = 0
    for entity, found in cells.items():
        if part and size + len(found) > _CELLS_PER_CALL:
            yield part
            part, size = [], 0
        part.append(entity)
        size += 1 + len(found)
    if part:
        yield part


def _counted(cells: Sequence[tuple[int, bytes]]) -> list[bytes]:
    return [b"%d" % len(cells), *(text for number, cell in cells for text in (b"%d" % number, cell))]


def _texts(found: Sequence[bytes]) -> list[str]:
    return [text.decode(errors="replace") for text in found]
