"""Online reads against an oracle while writers race: nothing stale or made up, through the gateway."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from cluster.config import OnlineStoreConfig
from cluster.stores.redis import RedisOnlineStore
from raytide.client import RaytideClient
from tests.online_world import NOW, OnlineBackend, put, serving

ENTITIES = ["a", "b", "c"]
FEATURES = ["user_age", "account_balance"]
WRITERS = 3


class Write(NamedTuple):
    """A row of the race: the value is made from its time, so that a reader knows what a time must carry."""

    entity: str
    feature: str
    event: int

    @property
    def value(self) -> float | None:
        """Return what is written at this time: sometimes a null."""
        return None if self.event % 7 == 0 else float(self.event)


class Told(NamedTuple):
    """What a reader is told."""

    value: float | None
    status: str
    event: int


Key = tuple[str, str]


@pytest.fixture(scope="module")
def store(redis_url: str) -> Iterator[RedisOnlineStore]:
    store = RedisOnlineStore(redis_url, OnlineStoreConfig())
    yield store
    store.close()


@pytest.fixture(scope="module")
def client(store: RedisOnlineStore) -> Iterator[RaytideClient]:
    with serving(OnlineBackend(store)) as address, RaytideClient(address, timeout_s=20) as client:
        yield client


@pytest.mark.stack
@pytest.mark.parametrize(
    "rounds", [100, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3_600)])], ids=["short", "all"]
)
def test_reads_are_never_older_than_what_was_acknowledged_before_them(
    client: RaytideClient, store: RedisOnlineStore, rounds: int
) -> None:
    chance = random.Random(rounds)
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        for number in range(rounds):
            _race(f"{rounds}:{number}:", chance, client, store, threads)


def _race(
    prefix: str, chance: random.Random, client: RaytideClient, store: RedisOnlineStore, threads: ThreadPoolExecutor
) -> None:
    """Let writers write shares of one entity's rows in an order of their own, while one reads; judge each read."""
    entities = [prefix + entity for entity in ENTITIES]
    before = [_write(entities, chance) for _ in range(3)]
    _put_each(store, before)
    shares = [[_write(entities, chance) for _ in range(4)] for _ in range(WRITERS)]
    writing = [threads.submit(_put_each, store, share) for share in shares]
    meanwhile = [_read(client, entities) for _ in range(2)]
    for future in writing:
        future.result()
    everything = [*before, *(write for share in shares for write in share)]
    newest = {key: _told(write) for key, write in _oracle(everything).items()}
    assert _read(client, entities) == newest
    _judge(meanwhile, _oracle(before), {(_key(write), _told(write)) for write in everything})


def _judge(reads: list[dict[Key, Told]], floor: dict[Key, Write], possible: set[tuple[Key, Told]]) -> None:
    """Each read tells what somebody wrote, nothing older than what was acknowledged before it, and never goes back."""
    last = {key: write.event for key, write in floor.items()}
    for read in reads:
        assert set(read.items()) <= possible
        assert set(last) <= set(read), "what was there is gone"
        assert not {key for key, event in last.items() if read[key].event < event}, "stale"
        last = {key: told.event for key, told in read.items()}


def _write(entities: list[str], chance: random.Random) -> Write:
    return Write(chance.choice(entities), chance.choice(FEATURES), NOW + chance.randrange(50))


def _put_each(store: RedisOnlineStore, writes: list[Write]) -> None:
    for write in writes:
        put(store, [(*write[:2], write.value, write.event)])


def _oracle(writes: list[Write]) -> dict[Key, Write]:
    """Sort by time, and let a dictionary keep the last."""
    return {_key(write): write for write in sorted(writes, key=lambda write: write.event)}


def _key(write: Write) -> Key:
    return write.entity, write.feature


def _told(write: Write) -> Told:
    return Told(write.value, "NULL_VALUE" if write.value is None else "PRESENT", write.event)


def _read(client: RaytideClient, entities: list[str]) -> dict[Key, Told]:
    """Return everything that is there, by one call."""
    answer = client.get_online_features(FEATURES, entities)
    return {
        (entity, feature): Told(None if math.isnan(values[e]) else float(values[e]), statuses[e], int(events[e]))
        for feature, values, statuses, events in zip(
            answer.names, answer.values, answer.statuses, answer.event_timestamps, strict=True
        )
        for e, entity in enumerate(entities)
        if statuses[e] != "NOT_FOUND"
    }
