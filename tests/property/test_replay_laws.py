"""Replaying any rejects any number of times, in any parts and under any versions, stores each of them once."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.config import OfflineStoreConfig
from cluster.records import Origin
from cluster.stores.duckdb import DuckStore
from cluster.stores.memory_offline import MemoryOfflineStore
from tests.batches import EPOCH_US, make_batch, row_at, stream_batch

STREAM = Origin.stream("events", 0, 1)
RECORDS, REJECTED = 12, frozenset({0, 2, 3, 7, 8, 11})

#: (positions, registry version, number of the replay: a repeat of a number is the same replay asked for again)
Step = tuple[frozenset[int], int, int]
steps = st.lists(
    st.tuples(st.frozensets(st.integers(0, RECORDS - 1), min_size=1), st.integers(1, 3), st.integers(0, 5)), max_size=8
)


def play(store: DuckStore | MemoryOfflineStore, history: list[Step]) -> dict[int, int]:
    """Return what each step was answered; a number asks for what it asked for first."""
    store.open_partition("events", 0, 0)
    store.commit(stream_batch(1, 0, RECORDS, rejected=sorted(REJECTED)))
    asked: dict[int, Step] = {}
    answers: dict[int, int] = {}
    for step in history:
        positions, version, number = asked.setdefault(step[2], step)
        rows = [row_at(p) for p in sorted(positions)]
        span = min(positions), max(positions) + 1
        batch = make_batch(STREAM.replayed_under(version), 0, span, rows)
        answer = store.commit_replay(f"r{number}", STREAM, batch)
        assert answers.setdefault(number, answer) == answer, "the same replay gets the same answer"
    return answers


def expected(history: list[Step]) -> dict[int, set[int]]:
    """Return which rejects each replay takes: those that none before it took."""
    left, taken = set(REJECTED), dict[int, set[int]]()
    for positions, _, number in history:
        if number not in taken:
            taken[number] = left & positions
            left -= positions
    return taken


@given(steps)
@settings(deadline=None, max_examples=100)
def test_each_reject_is_taken_once_by_the_first_who_asks(history: list[Step]) -> None:
    store = MemoryOfflineStore(count(EPOCH_US).__next__)
    answers, taken = play(store, history), expected(history)
    assert answers == {number: len(positions) for number, positions in taken.items()}
    found = {int(name[1:]): set(batch.rows["position"].to_pylist()) for name, batch in store.replays.items()}
    assert found == {number: positions for number, positions in taken.items() if positions}


@given(steps)
@settings(deadline=None, max_examples=25)
def test_the_database_does_the_same(history: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        store = DuckStore(OfflineStoreConfig(path=str(Path(folder) / "f.duckdb"), group_commit_ms=0), count(EPOCH_US).__next__)
        answers, taken = play(store, history), expected(history)
        assert answers == {number: len(positions) for number, positions in taken.items()}
        cursor = store.database.cursor()
        rows = cursor.execute(
            """SELECT registry_version, position FROM features JOIN sources USING (source_id) WHERE kind = 'replay'"""
        ).fetchall()
        versions = {number: version for _, version, number in reversed(history)}
        assert sorted(rows) == sorted((versions[number], p) for number, positions in taken.items() for p in positions)
        marked = cursor.execute("SELECT position FROM quarantine WHERE replayed_at IS NOT NULL").fetchall()
        assert {position for (position,) in marked} == set().union(*taken.values()) if taken else not marked
        cursor.close()
        store.close()
