"""Where cells of windows are kept: the twin and a real server say the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from cluster.config import OnlineStoreConfig
from cluster.errors import Misconfigured
from cluster.registry.aggregation import Function
from cluster.stores.memory_windows import MemoryWindowStore
from cluster.stores.redis import RedisOnlineStore
from cluster.windows.panes import Pane
from cluster.windows.ports import PaneCells, WindowState, WindowStore

SECOND = 1_000_000
PANE = Pane("amount", None, SECOND, 10 * SECOND, (Function.COUNT,))
OTHER = Pane("amount", None, SECOND, 10 * SECOND, (Function.SUM,))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["twin", pytest.param("redis", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> Iterator[WindowStore]:
    if request.param == "twin":
        yield MemoryWindowStore()
        return
    request.getfixturevalue("client")
    online = RedisOnlineStore(request.getfixturevalue("redis_url"), OnlineStoreConfig())
    yield online.windows
    online.close()


def read(store: WindowStore, entity: str, pane: Pane = PANE) -> dict[int, bytes]:
    ((numbers, cells),) = store.read([pane], [entity]).cells[0]
    return dict(zip(numbers, cells, strict=True))


def test_cells_come_back_as_they_were_put(store: WindowStore) -> None:
    store.claim("me")
    assert store.put("me", PaneCells(PANE, ["a", "b", "a"], [7, 7, 8], [b"one", b"\x00\r\n\xff", b"two"]), 0)
    assert store.cells(PANE, ["a", "a", "b", "c"], [8, 9, 7, 7]) == [b"two", None, b"\x00\r\n\xff", None]
    assert read(store, "a") == {7: b"one", 8: b"two"}
    assert read(store, "a", OTHER) == {}


def test_a_cell_without_bytes_is_taken_out(store: WindowStore) -> None:
    store.claim("me")
    store.put("me", PaneCells(PANE, ["a", "a"], [7, 8], [b"one", b"two"]), 0)
    assert store.put("me", PaneCells(PANE, ["a", "b"], [7, 7], [b"", b""]), 0)
    assert (read(store, "a"), read(store, "b")) == ({8: b"two"}, {})


def test_all_cells_of_an_entity_are_replaced(store: WindowStore) -> None:
    store.claim("me")
    store.put("me", PaneCells(PANE, ["a", "b", "c"], [7, 7, 7], [b"old"] * 3), 0)
    assert store.replace("me", PANE, {"a": [(8, b"new"), (9, b"er")], "b": []})
    assert [read(store, entity) for entity in "abc"] == [{8: b"new", 9: b"er"}, {}, {7: b"old"}]


def test_many_cells_travel_in_parts(store: WindowStore) -> None:
    store.claim("me")
    entities = [f"e{n % 700}" for n in range(2_000)]
    numbers = [n // 700 for n in range(2_000)]
    assert store.put("me", PaneCells(PANE, entities, numbers, [b"%d" % n for n in range(2_000)]), 0)
    assert store.cells(PANE, entities, numbers) == [b"%d" % n for n in range(2_000)]
    many = {f"m{n}": [(k, b"x") for k in range(n % 13)] for n in range(900)}
    assert store.replace("me", PANE, many)
    assert all(read(store, entity) == dict(cells) for entity, cells in list(many.items())[:30])


def test_only_whoever_claimed_last_changes_anything(store: WindowStore) -> None:
    store.claim("me")
    store.put("me", PaneCells(PANE, ["a"], [7], [b"mine"]), 0)
    assert store.move("me", None, 5, 50)
    assert store.ready("me", [PANE])
    assert store.claim("you") == WindowState(5, 50, frozenset([PANE.name]))
    assert not store.put("me", PaneCells(PANE, ["a"], [7], [b"late"]), 0)
    assert not store.replace("me", PANE, {"a": []})
    assert not store.move("me", 5, 6, 60)
    assert not store.ready("me", [])
    assert (store.held("me"), store.held("you")) == (None, (5, 50))
    assert read(store, "a") == {7: b"mine"}


def test_the_mark_moves_from_where_it_was_and_a_lost_answer_does_no_harm(store: WindowStore) -> None:
    assert store.claim("me") == WindowState(None, 0, frozenset())
    assert store.held("me") is None
    assert not store.move("me", 3, 4, 0), "it was never at 3"
    assert [store.move("me", None, 5, 50), store.move("me", None, 5, 51)] == [True, True]
    assert [store.move("me", 5, 9, 90), store.move("me", 5, 10, 99)] == [True, False]
    assert store.held("me") == (9, 90)


def test_what_is_ready_is_said_and_nothing_else(store: WindowStore) -> None:
    store.claim("me")
    assert list(store.read([PANE, OTHER], ["a"]).missing) == [PANE, OTHER]
    store.ready("me", [PANE])
    assert list(store.read([PANE, OTHER], ["a"]).missing) == [OTHER]
    store.ready("me", [OTHER])
    assert list(store.read([PANE, OTHER], ["a"]).missing) == [PANE]


def test_it_can_be_made_to_forget(store: WindowStore) -> None:
    store.claim("me")
    store.put("me", PaneCells(PANE, ["a", "b"], [7, 7], [b"x", b"y"]), 0)
    store.put("me", PaneCells(OTHER, ["a"], [7], [b"z"]), 0)
    store.move("me", None, 5, 50)
    store.clear(PANE)
    assert (read(store, "a"), read(store, "a", OTHER)) == ({}, {7: b"z"})
    store.forget()
    assert store.held("me") is None
    assert store.claim("me").row is None


@pytest.mark.stack
def test_old_cells_go_when_new_ones_come_and_all_of_them_in_time(client: redis.Redis, redis_url: str) -> None:
    online = RedisOnlineStore(redis_url, OnlineStoreConfig())
    online.windows.claim("me")
    for number in range(100):
        online.windows.put("me", PaneCells(PANE, ["a"], [number], [b"x"]), max(0, number - 10))
        assert client.hlen(f"raytide:window:{PANE.name}:a") <= PANE.most_cells + 17
    assert min(read(online.windows, "a")) > 60
    assert 80_000 < client.ttl(f"raytide:window:{PANE.name}:a") < 90_000
    online.close()


@pytest.mark.stack
def test_text_of_somebody_else_is_named(client: redis.Redis, redis_url: str) -> None:
    online = RedisOnlineStore(redis_url, OnlineStoreConfig())
    client.hset(f"raytide:window:{PANE.name}:a", "not a number", "x")
    with pytest.raises(Misconfigured, match="raytide:window"):
        online.windows.read([PANE], ["a"])
    online.close()
