from __future__ import annotations

import math
import re
import socket
import struct
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from redis._parsers.base import BaseParser

from cluster.config import OnlineStoreConfig
from cluster.errors import Misconfigured, RaytideError, RetryLater, Unreachable
from cluster.ingest.merge import newest
from cluster.records import ROWS_SCHEMA
from cluster.registry.aggregation import Function
from cluster.stack import manager
from cluster.stores.memory_online import MemoryOnlineStore
from cluster.stores.redis import RedisOnlineStore
from cluster.stores.redis_connections import RedisConnections
from cluster.stores.redis_errors import translate
from cluster.stores.redis_packing import command, pack
from cluster.windows.panes import Pane
from cluster.windows.ports import PaneCells

NOW = 1_767_225_600_000_000
Row = tuple[str, str, float | None, int, int]
Store = MemoryOnlineStore | RedisOnlineStore

PANE, UNREADY = (Pane("amount", None, 1_000_000, 10_000_000, (function,)) for function in (Function.COUNT, Function.SUM))

WHOLE = [0.0, -0.0, 42.0, -42.0, 1e21, 1e22, 123456789012345680.0, 2.0**53]
BROKEN = [0.1, 1 / 3, 1e-7, 0.30000000000000004, math.pi * 1e100]
EXTREME = [1.7976931348623157e308, -2.2250738585072014e-308, 5e-324, -5e-324]
AWKWARD = [*WHOLE, *BROKEN, *EXTREME]


def table(*rows: Row) -> pa.Table:
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
    return pa.table([*columns, list(range(len(rows)))], names=ROWS_SCHEMA.names).cast(ROWS_SCHEMA)


def stored(store: Store, entity: str = "user_1", feature: str = "x") -> tuple[float | None, int, int] | None:
    answer = store.read([entity], [feature])
    (value,), (null,), (found,), (event,), (created,) = (
        column[0].tolist() for column in (answer.values, answer.null, answer.found, answer.event_timestamps, answer.created_at)
    )
    return (None if null else value, event, created) if found else None


def bits(value: float) -> bytes:
    return struct.pack("d", value)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def real(redis_url: str, client: redis.Redis) -> Iterator[RedisOnlineStore]:
    assert client.dbsize() == 0
    store = RedisOnlineStore(redis_url, OnlineStoreConfig(entities_per_call=3))
    yield store
    store.close()


@pytest.fixture(params=["twin", pytest.param("real", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "twin":
        return MemoryOnlineStore()
    real: RedisOnlineStore = request.getfixturevalue("real")
    return real


# Twin and real


@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_reads_back_as_the_same_double(store: Store, value: float) -> None:
    store.write(table(("user_1", "x", value, NOW, NOW)))
    assert bits(store.read(["user_1"], ["x"]).values[0][0]) == bits(value)


def test_a_null_is_found_and_null(store: Store) -> None:
    store.write(table(("user_1", "x", None, NOW, NOW + 1)))
    assert stored(store) == (None, NOW, NOW + 1)
    assert np.isnan(store.read(["user_1"], ["x"]).values[0][0])


def test_values_and_cells_come_together_as_they_come_alone(store: Store) -> None:
    store.write(table(("user_1", "x", 1.0, NOW, NOW), ("user_2", "y", 2.0, NOW, NOW)))
    store.windows.claim("me")
    store.windows.ready("me", [PANE])
    store.windows.put("me", PaneCells(PANE, ["user_1", "user_1", "user_3"], [7, 8, 7], [b"a", b"b", b"c"]), 0)
    entities, panes = ["user_3", "user_1", "nobody"], [PANE, UNREADY]
    for features in (["x", "y"], []):
        values, cells = store.read_with_windows(entities, features, panes)
        alone = store.read(entities, features)
        assert [column.tolist() for column in values.found] == [column.tolist() for column in alone.found]
        assert values.values.tobytes() == alone.values.tobytes()
        assert cells == store.windows.read(panes, entities)


@pytest.mark.stack
def test_values_and_cells_take_one_round_trip(real: RedisOnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    exchange = real._connections.exchange

    def counted(pieces: Any, silence_s: float | None = None) -> list[Any]:
        calls.append(len(list(pieces())))
        return exchange(pieces, silence_s)

    monkeypatch.setattr(real._connections, "exchange", counted)
    real.read_with_windows(["user_1", "user_2"], ["x", "y"], [PANE, UNREADY])
    assert calls == [1]


def test_what_is_not_there_is_not_found(store: Store) -> None:
    store.write(table(("user_1", "x", 1.0, NOW, NOW)))
    answer = store.read(["user_1", "user_2"], ["x", "y"])
    assert [column.tolist() for column in answer.found] == [[True, False], [False, False]]
    assert [column.tolist() for column in answer.event_timestamps] == [[NOW, 0], [0, 0]]
    assert [column.tolist() for column in answer.null] == [[False, False], [False, False]]


def test_a_read_answers_in_the_order_asked_for_repeats_included(store: Store) -> None:
    store.write(table(*((f"user_{i}", f, i + j / 10, NOW, NOW) for i in range(5) for j, f in enumerate("xyz"))))
    answer = store.read(["user_3", "user_0", "user_3"], ["z", "x"])
    assert [column.tolist() for column in answer.values] == [[3.2, 0.2, 3.2], [3.0, 0.0, 3.0]]


@pytest.mark.parametrize(("entities", "features"), [([], ["x"]), (["user_1"], []), ([], [])])
def test_nothing_asked_for(store: Store, entities: list[str], features: list[str]) -> None:
    answer = store.read(entities, features)
    assert [column.shape for column in answer.values] == [(len(entities),)] * len(features)


def test_nothing_written(store: Store) -> None:
    assert store.write(ROWS_SCHEMA.empty_table()) == 0


@pytest.mark.parametrize(
    ("old", "new", "replaced"),
    [
        ((NOW, NOW), (NOW + 1, NOW), True),
        ((NOW, NOW), (NOW - 1, NOW + 5), False),
        ((NOW, NOW), (NOW, NOW + 1), True),
        ((NOW, NOW), (NOW, NOW - 1), False),
        ((NOW, NOW), (NOW, NOW), True),
        ((999, 5), (1000, 5), True),
        ((1000, 5), (999, 5), False),
        ((NOW, 999), (NOW, 1000), True),
        ((NOW, 1000), (NOW, 999), False),
        ((-1, 5), (0, 5), True),
        ((-5, 5), (-10, 5), False),
        ((-10, 5), (-5, 5), True),
        ((5, -5), (5, -10), False),
        # 15 or 16 digits with a sign, so that the whole text is as long as usual.
        ((-123_456_789_012_345, NOW), (-123_456_789_012_346, NOW), False),
        ((-123_456_789_012_346, NOW), (-123_456_789_012_345, NOW), True),
        ((NOW, -123_456_789_012_346), (NOW, -123_456_789_012_345), True),
        ((NOW, -123_456_789_012_345), (NOW, -123_456_789_012_346), False),
        ((999_999_999_999_999, NOW), (NOW, NOW), True),
        ((NOW, NOW), (999_999_999_999_999, 10_000_000_000_000_000), False),
        ((9_223_372_036_854_775_806, 1), (9_223_372_036_854_775_807, 1), True),
        ((9_223_372_036_854_775_807, 1), (9_223_372_036_854_775_806, 1), False),
    ],
)
@pytest.mark.parametrize("features", ["x", "xy"])
def test_equal_or_newer_replaces(
    store: Store, old: tuple[int, int], new: tuple[int, int], features: str, *, replaced: bool
) -> None:
    assert store.write(table(*(("user_1", name, 1.0, *old) for name in features))) == len(features)
    assert store.write(table(*(("user_1", name, 2.0, *new) for name in features))) == len(features) * replaced
    assert [stored(store, feature=name) for name in features] == [(2.0, *new) if replaced else (1.0, *old)] * len(features)


def test_some_features_of_an_entity_are_newer_and_others_older(store: Store) -> None:
    store.write(table(("user_1", "x", 1.0, NOW, NOW), ("user_1", "y", 1.0, NOW + 9, NOW)))
    rows = table(("user_1", "x", 2.0, NOW + 5, NOW), ("user_1", "y", 2.0, NOW + 5, NOW), ("user_1", "z", 2.0, NOW, NOW))
    assert store.write(rows) == 2
    assert store.read(["user_1"], ["x", "y", "z"]).values.tolist() == [[2.0], [1.0], [2.0]]


def test_repeats_in_a_batch_count_in_table_order(store: Store) -> None:
    order = [("x", 3), ("y", 3), ("x", 1), ("x", 3), ("y", 4), ("z", 2), ("x", 2)]
    rows = table(*(("user_1", name, float(i), NOW + time, NOW) for i, (name, time) in enumerate(order)))
    assert store.write(rows) == 5
    assert store.read(["user_1"], ["x", "y", "z"]).values.tolist() == [[3.0], [4.0], [5.0]]


def test_writing_again_changes_nothing(store: Store) -> None:
    rows = table(*((f"user_{i % 7}", "xyz"[i % 3], float(i), NOW + i, NOW) for i in range(40)))
    store.write(rows)
    before = store.read([f"user_{i}" for i in range(7)], list("xyz"))
    store.write(rows)
    after = store.read([f"user_{i}" for i in range(7)], list("xyz"))
    assert np.array_equal(before.values, after.values)
    assert np.array_equal(before.event_timestamps, after.event_timestamps)


@pytest.mark.parametrize(
    "entity",
    ["a b", "100%", "%s %d", "user:1:ts", "ü", "用户_1", "🦆" * 256, "x" * 256, "*", "[a]", "\\", '"', "$5", "entity:entity:"],
)
def test_any_entity_id(store: Store, entity: str) -> None:
    store.write(table((entity, "x", 1.0, NOW, NOW), ("other", "x", 2.0, NOW, NOW)))
    assert stored(store, entity) == (1.0, NOW, NOW)
    assert sorted(chain.from_iterable(store.entities())) == sorted([entity, "other"])


def test_more_features_than_fit_into_one_group_or_one_call(store: Store) -> None:
    names = [f"feature_{i}" for i in range(9_000)]
    rows = table(*(("user_1", name, float(i), NOW + i, NOW) for i, name in enumerate(names)))
    assert store.write(rows) == len(names)
    assert store.write(rows.take(list(range(500, 0, -1)))) == 500  # each a group of its own
    assert [column[0] for column in store.read(["user_1"], names).values] == list(range(9_000))


def test_many_entities_in_one_table(store: Store) -> None:
    ids = [f"user_{i}" for i in range(20_000)]
    rows = table(*((entity, "xy"[i % 2], float(i), NOW + i, NOW) for i, entity in enumerate(ids)))
    assert store.write(rows) == 20_000
    answer = store.read(ids, ["x", "y"])
    assert [answer.values[i % 2][i] for i in range(20_000)] == list(range(20_000))
    assert sorted(chain.from_iterable(store.entities())) == sorted(ids)


def test_a_table_in_chunks_and_a_slice_of_one(store: Store) -> None:
    rows = pa.concat_tables([table(("user_1", name, 1.0, NOW, NOW), ("user_2", name, 2.0, NOW, NOW)) for name in "yx"])
    assert store.write(rows.slice(1, 2)) == 2
    assert [column.tolist() for column in store.read(["user_1", "user_2"], ["x", "y"]).found] == [[True, False], [False, True]]


def test_no_entities(store: Store) -> None:
    assert list(store.entities()) == []


def test_a_value_is_retracted_if_its_times_are_the_same(store: Store) -> None:
    store.write(table(("user_1", "x", 1.0, NOW, NOW), ("user_1", "y", 2.0, NOW, NOW), ("user_2", "x", None, NOW, 5)))
    rows = table(("user_1", "x", 9.0, NOW, NOW), ("user_1", "y", 2.0, NOW, NOW - 1), ("user_2", "x", 0.0, NOW, 5))
    assert store.retract(rows) == 2
    assert (stored(store), stored(store, feature="y"), stored(store, "user_2")) == (None, (2.0, NOW, NOW), None)
    assert list(chain.from_iterable(store.entities())) == ["user_1"], "an entity without values is no entity"
    assert store.retract(rows) == 0
    assert store.retract(table(("nobody", "x", 9.0, NOW, NOW)).slice(0, 0)) == 0


def test_what_was_retracted_can_be_older_afterwards(store: Store) -> None:
    store.write(table(("user_1", "x", 1.0, NOW, NOW)))
    store.retract(table(("user_1", "x", 1.0, NOW, NOW)))
    assert store.write(table(("user_1", "x", 2.0, NOW - 1, NOW))) == 1
    assert stored(store) == (2.0, NOW - 1, NOW)


def test_the_marker(store: Store) -> None:
    assert store.marker() is None
    assert not store.remark("mine", "full")
    assert store.marker() is None
    store.mark("mine")
    assert not store.remark("another's", "full")
    assert store.marker() == "mine"
    assert store.remark("mine", "full")
    assert store.remark("mine", "full")  # the same call again, after a lost answer
    assert store.marker() == "full"
    assert list(store.entities()) == []


def test_ping(store: Store) -> None:
    store.ping()


# The real one alone: the format, and what can go wrong


@pytest.mark.stack
def test_the_format_is_readable_by_a_person(real: RedisOnlineStore, client: redis.Redis) -> None:
    real.write(table(("user_1", "x", 42.0, NOW, NOW + 7), ("user_1", "y", 0.1, NOW, NOW), ("user_1", "z", None, 5, -5)))
    assert client.hgetall("entity:user_1") == {
        "x": "42",
        "x:ts": f"{NOW}:{NOW + 7}",
        "y": "0.1",
        "y:ts": f"{NOW}:{NOW}",
        "z": "",
        "z:ts": "5:-5",
    }


@pytest.mark.stack
def test_python_reads_the_text_as_the_same_double(real: RedisOnlineStore, client: redis.Redis) -> None:
    random = np.random.default_rng(7)
    values = random.integers(0, 2**64, 3_000, np.uint64, endpoint=False).view(np.float64)
    values = values[np.isfinite(values)]
    real.write(table(*((f"user_{i}", "x", float(value), NOW, NOW) for i, value in enumerate(values))))
    texts = [client.hget(f"entity:user_{i}", "x") for i in range(0, len(values), 10)]
    assert [bits(float(str(text))) for text in texts] == [bits(value) for value in values[::10]]
    assert real.read([f"user_{i}" for i in range(len(values))], ["x"]).values[0].tobytes() == values.tobytes()


@pytest.mark.stack
@pytest.mark.parametrize("stamp", ["", "yesterday", "1:2:3", f"{NOW}", f"{NOW + 9}:", "x" * 16 + ":" + "y" * 16])
@pytest.mark.parametrize("features", ["x", "xy"])
def test_a_time_that_raytide_does_not_write_loses(
    real: RedisOnlineStore, client: redis.Redis, stamp: str, features: str
) -> None:
    client.hset("entity:user_1", mapping={"x": "7", "x:ts": stamp})
    real.write(table(*(("user_1", name, 1.0, NOW, NOW) for name in features)))
    assert stored(real) == (1.0, NOW, NOW)


@pytest.mark.stack
@pytest.mark.parametrize(
    "fields", [{"x": "seven", "x:ts": f"{NOW}:{NOW}"}, {"x": "7,8", "x:ts": f"{NOW}:{NOW}"}, {"x": "7", "x:ts": "yesterday"}]
)
def test_text_that_raytide_does_not_write_is_said(real: RedisOnlineStore, client: redis.Redis, fields: dict[str, str]) -> None:
    client.hset("entity:user_1", mapping=fields)
    with pytest.raises(Misconfigured, match="rebuild-online"):
        real.read(["user_1"], ["x"])


@pytest.mark.stack
def test_forgotten_scripts_are_loaded_again(real: RedisOnlineStore, client: redis.Redis) -> None:
    real.write(table(("user_1", "x", 1.0, NOW, NOW)))
    client.script_flush()
    assert real.write(table(("user_1", "x", 2.0, NOW, NOW))) == 1


@pytest.mark.stack
@pytest.mark.parametrize("trouble", [command(b"EVALSHA", b"0" * 40, b"0"), command(b"QUIT")], ids=["no script", "hung up"])
def test_trouble_that_a_new_connection_mends_repeats_the_whole_exchange_once(redis_url: str, trouble: bytes) -> None:
    connections = RedisConnections(redis_url, OnlineStoreConfig(timeout_ms=2_000))
    attempts = [[trouble, command(b"PING")], [command(b"ECHO", b"again")]]
    assert connections.exchange(lambda: [attempts.pop(0)]) == [b"again"]
    attempts = [[trouble, command(b"PING")]] * 3
    with pytest.raises(RetryLater):
        connections.exchange(lambda: [attempts.pop(0)])
    assert len(attempts) == 1
    connections.close()


@pytest.mark.stack
def test_replies_still_on_their_way_after_an_error_go_to_nobody(redis_url: str, client: redis.Redis) -> None:
    client.set("text", "not a hash")
    connections = RedisConnections(redis_url, OnlineStoreConfig(timeout_ms=2_000))
    late = [command(b"HGET", b"text", b"x"), command(b"BLPOP", b"nothing", b"0.2")]
    with pytest.raises(Misconfigured):
        connections.exchange(lambda: [late])
    assert connections.exchange(lambda: [[command(b"PING")]]) == [b"PONG"]
    connections.close()


def test_a_call_has_no_more_entities_than_configured_and_a_bounded_number_of_rows() -> None:
    rows = table(*((f"user_{i}", name, 1.0, NOW, NOW) for i in range(1_000) for name in "abcdefgh"))
    few, many = ([int(call.split(b"\r\n")[6]) for call in pack(rows, entities, b"0" * 40)] for entities in (100, 1_000))
    assert few == [100] * 10
    assert many == [250] * 4


@pytest.mark.stack
def test_an_error_among_the_replies_does_not_put_the_next_call_out_of_step(real: RedisOnlineStore, client: redis.Redis) -> None:
    client.set("entity:user_5", "not a hash")
    rows = table(*((f"user_{i}", "x", float(i), NOW, NOW) for i in range(20)))
    with pytest.raises(Misconfigured, match="not hashes"):
        real.write(rows)
    client.delete("entity:user_5")
    assert real.write(rows) == 20
    assert real.read([f"user_{i}" for i in range(20)], ["x"]).values[0].tolist() == list(range(20))


@pytest.mark.stack
def test_a_full_server_is_tried_again_later(real: RedisOnlineStore, client: redis.Redis) -> None:
    rows = table(("user_1", "x", 1.0, NOW, NOW))
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(RetryLater, match="maxmemory"):
            real.write(rows)
    finally:
        client.config_set("maxmemory", "0")
    assert real.write(rows) == 1


@pytest.mark.stack
def test_a_replica_is_tried_again_later(real: RedisOnlineStore, client: redis.Redis) -> None:
    rows = table(("user_1", "x", 1.0, NOW, NOW))
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(RetryLater, match="replica"):
            real.write(rows)
    finally:
        client.replicaof("NO", "ONE")
    assert real.write(rows) == 1


@pytest.mark.stack
def test_a_server_busy_with_a_script_is_tried_again_later(redis_url: str, client: redis.Redis) -> None:
    store = RedisOnlineStore(redis_url, OnlineStoreConfig())
    client.config_set("busy-reply-threshold", "1")
    endless = threading.Thread(target=_run_until_killed, args=(redis_url,))
    endless.start()
    try:
        with pytest.raises(RetryLater, match="SCRIPT KILL"):
            _ping_until_it_fails(store)
    finally:
        client.script_kill()
        endless.join()
        client.config_set("busy-reply-threshold", "5000")
    store.ping()
    store.close()


def _run_until_killed(url: str) -> None:
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ResponseError, match="killed"):
        client.eval("while true do end", 0)


def _ping_until_it_fails(store: RedisOnlineStore) -> None:
    while True:
        store.ping()


@pytest.mark.stack
def test_a_wrong_password_is_a_matter_of_configuration_and_is_not_told(redis_url: str) -> None:
    store = RedisOnlineStore(redis_url.replace("redis://", "redis://somebody:hunter2@"), OnlineStoreConfig())
    with pytest.raises(Misconfigured, match="password") as caught:
        store.ping()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "expected", "says"),
    [
        ("LOADING Redis is loading the dataset in memory", RetryLater, "is loading"),
        ("MISCONF Valkey is configured to save RDB snapshots, but ...", RetryLater, "its disk"),
        ("NOREPLICAS Not enough good replicas to write.", RetryLater, "replicas"),
        ("MASTERDOWN Link with MASTER is down", RetryLater, "primary"),
        ("ERR max number of clients reached", RetryLater, "maxclients"),
        ("NOAUTH Authentication required.", Misconfigured, "password"),
        ("NOPERM User x has no permissions to run the 'evalsha' command", Misconfigured, "@scripting"),
        ("MOVED 3999 127.0.0.1:6381", Misconfigured, "Cluster"),
        ("CROSSSLOT Keys in request don't hash to the same slot", Misconfigured, "Cluster"),
        ("CLUSTERDOWN Hash slot not served", Misconfigured, "Cluster"),
        ("ERR unknown command 'EVALSHA', with args beginning with: 'secret'", Misconfigured, r"Redis 7, Valkey 7\.2"),
    ],
)
def test_what_a_server_says_about_itself(reply: str, expected: type[RaytideError], says: str) -> None:
    error = translate(BaseParser.parse_error(reply), "redis.example:6379/0")
    assert type(error) is expected
    assert re.search(f"^Redis at redis.example:6379/0 .*{says}", str(error))
    assert "secret" not in str(error)


def test_a_server_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = RedisOnlineStore(f"redis://somebody:hunter2@127.0.0.1:{port}/3", OnlineStoreConfig())
    for call in (store.ping, lambda: store.read(["user_1"], ["x"]), lambda: store.write(table(("a", "x", 1.0, 1, 1)))):
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}/3 cannot be reached; start it") as caught:
            call()
        assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisOnlineStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", OnlineStoreConfig(timeout_ms=50))
        with pytest.raises(Unreachable, match="did not answer in time"):
            store.write(table(("user_1", "x", 1.0, NOW, NOW)))


def test_a_read_waits_no_longer_than_its_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = RedisOnlineStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", OnlineStoreConfig(timeout_ms=3_600_000))
        with pytest.raises(Unreachable, match="did not answer in time"):  # after the hour, pytest's time limit ends this
            store.read(["user_1"], ["x"], 0.05)
        store.close()


@pytest.mark.stack
def test_a_connection_that_a_hasty_read_made_serves_the_patient(real: RedisOnlineStore) -> None:
    real.write(table(("user_1", "x", 1.0, NOW, NOW)))
    real.close()
    assert real.read(["user_1"], ["x"], 1.0).values.item() == 1.0
    connections = real._connections
    slow = [command(b"BLPOP", b"nothing", b"1.1"), command(b"PING")]
    assert connections.exchange(lambda: [slow]) == [None, b"PONG"]
    with pytest.raises(Unreachable):
        connections.exchange(lambda: [slow], 0.05)
    assert len(connections._made) == 1


def test_a_connection_string_that_is_none() -> None:
    with pytest.raises(Misconfigured, match="redis://"):
        RedisOnlineStore("localhost:6379", OnlineStoreConfig())


@pytest.mark.stack
def test_a_restarted_server_is_used_again_without_an_error(tmp_path: Path) -> None:
    url = str(manager.up(tmp_path, redis_port=0, services={manager.VALKEY}).redis_url)
    store = RedisOnlineStore(url, OnlineStoreConfig())
    try:
        assert store.write(table(("user_1", "x", 1.0, NOW, NOW))) == 1
        manager.down(tmp_path)
        with pytest.raises(Unreachable):
            store.ping()
        manager.up(tmp_path, redis_port=int(url.rpartition(":")[2].partition("/")[0]), services={manager.VALKEY})
        assert store.write(table(("user_1", "x", 2.0, NOW, NOW))) == 1
        assert stored(store) == (2.0, NOW, NOW)
    finally:
        store.close()
        manager.down(tmp_path)


@pytest.mark.stack
def test_many_threads_read_while_one_writes(real: RedisOnlineStore) -> None:
    ids = [f"user_{i}" for i in range(50)]
    real.write(table(*((entity, name, 0.0, NOW, NOW) for entity in ids for name in "xy")))
    torn: list[str] = []
    done = threading.Event()

    def check() -> None:
        while not done.is_set():
            answer = real.read(ids, ["x", "y"])
            if not np.array_equal(answer.values[0], answer.values[1]) or not all(map(np.all, answer.found)):
                torn.append("x and y of an entity are written together")

    readers = [threading.Thread(target=check) for _ in range(8)]
    for reader in readers:
        reader.start()
    for step in range(1, 40):
        real.write(newest(table(*((entity, name, float(step), NOW + step, NOW) for entity in ids for name in "xy"))))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
