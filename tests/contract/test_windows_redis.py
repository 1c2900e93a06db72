"""The same lives as in tests/property/test_windows_online.py, with the cells in a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import redis

from cluster.config import OnlineStoreConfig
from cluster.stores.redis import RedisOnlineStore
from tests.windows_world import EVERY, STEPS, History, Life, World, check

pytestmark = pytest.mark.stack


class ServedLife(Life):
    """One whose store is a server: it is emptied by FLUSHALL, and has no copies to fall back to."""

    def __init__(self, world: World, random: Random, server: redis.Redis) -> None:
        super().__init__(world, random)
        self._server = server

    def forget(self) -> None:
        """Empty the server."""
        self._server.flushall()

    def remember(self) -> None:
        """Keep no copy."""

    fall_back = remember


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    yield history
    history.close()


@pytest.mark.parametrize("seed", range(4))
def test_windows_in_a_server_are_what_nested_loops_find(history: History, redis_url: str, seed: int) -> None:
    random = Random(seed)
    online = RedisOnlineStore(redis_url, OnlineStoreConfig())
    with redis.Redis.from_url(redis_url) as server:
        server.flushall()
        life = ServedLife(World(history, random.sample(EVERY, 8), online.windows), random, server)
        for step in [*random.choices(STEPS, k=25), "settle"]:
            getattr(life, step)()
            if step == "settle":
                check(life.world)
    online.close()
