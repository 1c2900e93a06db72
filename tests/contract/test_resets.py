"""Resets and lives of topics: what both offline stores do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from cluster.config import OfflineStoreConfig
from cluster.errors import Fenced, Lost, NotFound, RaytideError, Refused
from cluster.ingest.resets import Reset
from cluster.records import Batch, Origin, PartitionStart
from cluster.stores.duckdb import DuckStore
from cluster.stores.memory_offline import MemoryOfflineStore
from tests.batches import EPOCH_US, make_batch, stream_batch

Range = tuple[int, int, int, int]  # incarnation, first, next, events
Loss = tuple[int, int, int | None, str, str]  # incarnation, first, next, reason, declared by

RESET = Reset("events", 0, 9, 7, 12, "one", 1, "me")


@dataclass
class Subject:
    store: MemoryOfflineStore | DuckStore
    ledger: Callable[[], list[Range]]
    abandoned: Callable[[], list[Loss]]


def in_memory(_: Path) -> Iterator[Subject]:
    store = MemoryOfflineStore(count(EPOCH_US).__next__, 0.1)

    def ledger() -> list[Range]:
        return [(b.origin.incarnation, b.first, b.next, b.events) for b in store.committed["events", 0]]

    def abandoned() -> list[Loss]:
        return [(a.incarnation, a.first, a.next, a.reason, "me") for a in store.abandoned.get(("events", 0), [])]

    yield Subject(store, ledger, abandoned)


def in_duckdb(folder: Path) -> Iterator[Subject]:
    config = OfflineStoreConfig(path=str(folder / "features.duckdb"), group_commit_ms=1)
    store = DuckStore(config, count(EPOCH_US).__next__, 0.1)
    cursor = store.database.cursor()

    def ledger() -> list[Range]:
        columns = "incarnation, first_position, next_position, events"
        query = f"SELECT {columns} FROM batches JOIN sources USING (source_id) ORDER BY ALL"
        return [(a, b, c, d) for a, b, c, d in cursor.execute(query).fetchall()]

    def abandoned() -> list[Loss]:
        columns = "incarnation, first_position, next_position, reason, declared_by"
        query = f"SELECT {columns} FROM abandoned ORDER BY ALL"
        return [(a, b, c, d, e) for a, b, c, d, e in cursor.execute(query).fetchall()]

    yield Subject(store, ledger, abandoned)
    cursor.close()
    store.close()


@pytest.fixture(params=[in_memory, in_duckdb])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """A store whose partition read offsets 0 to 3 of topic `one`."""
    for found in request.param(tmp_path):
        found.store.open_partition("events", 0, 0, "one")
        found.store.commit(stream_batch(1, 0, 4))
        yield found


def new_life(epoch: int, first: int, following: int, incarnation: int = 1) -> Batch:
    return make_batch(replace(Origin.stream("events", 0, 1), incarnation=incarnation), epoch, (first, following))


def test_the_range_is_in_the_ledger_and_declared_and_the_partition_goes_on(subject: Subject) -> None:
    assert subject.store.reset_partition(RESET) == PartitionStart(2, 9)
    assert subject.ledger() == [(0, 0, 4, 4), (0, 4, 9, 0)]
    why = "[4, 7) was removed by Kafka before it was read, [7, 9) was skipped on purpose"
    assert subject.abandoned() == [(0, 4, 9, why, "me")]
    with pytest.raises(Fenced):
        subject.store.commit(stream_batch(1, 4, 9))
    assert subject.store.open_partition("events", 0, 7, "one") == PartitionStart(3, 9)
    subject.store.commit(stream_batch(3, 9, 12))
    assert subject.ledger()[-1] == (0, 9, 12, 3)


def test_the_same_again_declares_nothing_more(subject: Subject) -> None:
    assert [subject.store.reset_partition(RESET).next_offset for _ in range(3)] == [9, 9, 9]
    assert subject.ledger() == [(0, 0, 4, 4), (0, 4, 9, 0)]
    assert len(subject.abandoned()) == 1
    assert subject.store.reset_partition(replace(RESET, expected=4)).next_offset == 9, "an answer was lost"


@pytest.mark.parametrize(
    ("reset", "kind", "message"),
    [
        (replace(RESET, target=6), Refused, "offset 6 does not exist, Kafka has 7 up to 12"),
        (replace(RESET, target=13), Refused, "offset 13 does not exist"),
        (replace(RESET, beginning=0, target=3), Refused, "going back to 3 would double it"),
        (replace(RESET, expected=3), Refused, "it was at 3 and is at 4 by now"),
        (replace(RESET, partition=7), NotFound, r"events\[7\] was never read"),
        (replace(RESET, beginning=0, end=3, target=2), Refused, "choose --to latest"),
    ],
)
def test_what_would_double_or_does_not_exist_is_refused(
    subject: Subject, reset: Reset, kind: type[RaytideError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        subject.store.reset_partition(reset)
    assert (subject.ledger(), subject.abandoned()) == ([(0, 0, 4, 4)], [])
    subject.store.commit(stream_batch(1, 4, 6))


def test_another_topic_of_the_same_name_is_not_opened_until_it_is_reset(subject: Subject) -> None:
    store = subject.store
    with pytest.raises(Lost, match=r"made again: its id is two, the one that was read had one.*reset events 0 --to earliest"):
        store.open_partition("events", 0, 0, "two")
    store.commit(stream_batch(1, 4, 5))  # the look took no epoch
    reset = replace(RESET, topic_id="two", beginning=0, target=0)
    assert store.reset_partition(reset) == PartitionStart(2, 0, 1)
    assert store.open_partition("events", 0, 0, "two") == PartitionStart(3, 0, 1)
    store.commit(new_life(3, 0, 4))
    assert subject.ledger() == [(0, 0, 4, 4), (0, 4, 5, 1), (1, 0, 4, 4)]
    assert subject.abandoned() == [(0, 5, None, "the topic was deleted and made again", "me")]
    with pytest.raises(Lost):
        store.open_partition("events", 0, 0, "one")
    with pytest.raises(Refused, match="would double"):
        store.reset_partition(reset)


def test_a_new_life_may_begin_later(subject: Subject) -> None:
    assert subject.store.reset_partition(replace(RESET, topic_id="two")) == PartitionStart(2, 9, 1)
    assert subject.ledger() == [(0, 0, 4, 4), (1, 7, 9, 0)]
    assert [loss[:3] for loss in subject.abandoned()] == [(0, 4, None), (1, 7, 9)]


def test_partitions_share_a_life_and_a_new_one_joins_it(subject: Subject) -> None:
    subject.store.open_partition("events", 1, 0, "one")
    assert subject.store.open_partition("events", 2, 0, "two") == PartitionStart(1, 0, 1), "it was not in topic `one`"
    for partition in (0, 1):
        reset = replace(RESET, partition=partition, topic_id="two", beginning=0, target=0)
        assert subject.store.reset_partition(reset).incarnation == 1
    assert subject.store.open_partition("events", 3, 5, "two") == PartitionStart(1, 5, 1)


def test_a_log_that_lost_its_end_goes_on_as_a_new_life(subject: Subject) -> None:
    assert subject.store.reset_partition(replace(RESET, beginning=0, end=2, target=2)) == PartitionStart(2, 2, 1)
    assert subject.store.open_partition("events", 0, 0, "one") == PartitionStart(3, 2, 1)
    subject.store.commit(new_life(3, 2, 6))
    assert subject.abandoned() == [(0, 4, None, "Kafka lost the end of its log and went on at 2", "me")]


def test_a_broker_without_ids_is_trusted(subject: Subject) -> None:
    assert subject.store.open_partition("events", 0, 0, None) == PartitionStart(2, 4)
    assert subject.store.open_partition("other", 0, 3, None) == PartitionStart(1, 3)
    assert subject.store.open_partition("other", 0, 3, "late") == PartitionStart(2, 3), "its id is known from now on"
    with pytest.raises(Lost):
        subject.store.open_partition("other", 0, 3, "later")
