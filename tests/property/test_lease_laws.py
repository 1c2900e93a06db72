"""The cap holds whatever happens: any order of asking, releasing, dying and time passing."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.ingest.leases import Claim, Kind, Leases

SLOTS, RESERVED, SECONDS = 4, 2, 10.0
claims = st.builds(
    lambda kind, job, n: Claim(f"{kind}:{job}:{n}", kind, f"{kind}:{job}"),
    st.sampled_from(Kind),
    st.integers(0, 2),
    st.integers(0, 3),
)
steps = st.lists(st.tuples(st.sampled_from(["ask", "release", "die", "wait"]), claims, st.floats(0, 12)), max_size=60)


@given(steps)
@settings(deadline=None, max_examples=200)
def test_the_cap_and_the_reserve_always_hold(history: list[tuple[str, Claim, float]]) -> None:
    leases, now = Leases(SLOTS, RESERVED, SECONDS), 0.0
    for what, claim, seconds in history:
        if what == "ask":
            leases.ask(claim, now)
        elif what == "release":
            leases.release(claim.holder, now)
        elif what == "die":
            leases.release_job(claim.job, now)
        else:
            now += seconds
            leases.expire(now)
        held = [lease.claim for lease in leases.held]
        assert len(held) <= SLOTS
        assert sum(c.kind is not Kind.STREAM for c in held) <= SLOTS - RESERVED
        assert len({c.holder for c in held}) == len(held)
        # Nobody waits for a slot that is free.
        waiting = leases.waiting
        streams_wait = any(c.kind is Kind.STREAM for c in waiting)
        others_wait = any(c.kind is not Kind.STREAM for c in waiting)
        assert not (streams_wait and len(held) < SLOTS)
        full = sum(c.kind is not Kind.STREAM for c in held) == SLOTS - RESERVED
        assert not (others_wait and len(held) < SLOTS and not full)


def upload(job: int, piece: int) -> Claim:
    return Claim(f"upload:{job}:{piece}", Kind.UPLOAD, f"upload:{job}")


def test_uploads_take_turns() -> None:
    leases = Leases(3, 1, SECONDS)
    assert leases.ask(upload(1, 0), 0)
    assert leases.ask(upload(1, 1), 0)
    assert not leases.ask(upload(1, 2), 0)
    assert not leases.ask(upload(2, 0), 0)
    leases.release("upload:1:0", 1)
    assert {lease.claim.holder for lease in leases.held} == {"upload:1:1", "upload:2:0"}


def test_a_holder_that_says_nothing_loses_its_slot() -> None:
    leases = Leases(2, 1, SECONDS)
    assert leases.ask(upload(1, 0), 0)
    assert not leases.ask(upload(2, 0), SECONDS)
    assert leases.ask(upload(2, 0), SECONDS + 1)


def test_a_stream_gives_way_to_a_waiting_upload_only_where_it_may_go() -> None:
    leases = Leases(2, 1, SECONDS)
    streams = [Claim(f"partition:t:{n}", Kind.STREAM, f"partition:t:{n}") for n in range(2)]
    assert all(leases.ask(stream, 0) for stream in streams)
    assert not leases.should_yield(streams[0].holder)
    assert not leases.ask(upload(1, 0), 0)
    assert leases.should_yield(streams[0].holder)
    leases.release(streams[0].holder, 0)
    assert leases.ask(upload(1, 0), 0)
    assert not leases.ask(upload(1, 1), 0)
    assert not leases.should_yield(streams[1].holder)


def test_a_backfill_never_goes_before_a_stream_that_waits() -> None:
    leases = Leases(3, 1, SECONDS)
    streams = [Claim(f"partition:t:{n}", Kind.STREAM, f"partition:t:{n}") for n in range(3)]
    assert all(leases.ask(stream, 0) for stream in streams[:2])
    assert leases.ask(upload(1, 0), 0)
    backfill = Claim("gateway:b:1", Kind.BACKFILL, "b")
    assert not leases.ask(backfill, 0)
    assert not leases.ask(streams[2], 1), "it came later"
    leases.release("upload:1:0", 2)
    assert leases.ask(streams[2], 2)
    leases.release("partition:t:0", 3)
    assert leases.ask(backfill, 3), "and when no stream waits it has its turn"
    assert not leases.ask(upload(2, 0), 3), "like any other"


def test_a_file_of_many_pieces_takes_turns_with_one_of_few() -> None:
    leases = Leases(2, 1, SECONDS)
    pieces = [*(upload(1, n) for n in range(6)), *(upload(2, n) for n in range(2))]
    assert [leases.ask(claim, 0) for claim in pieces] == [True] + [False] * 7
    order = []
    while leases.held:
        (lease,) = leases.held
        order.append(lease.claim.job)
        leases.release(lease.claim.holder, 0)
    assert order == [f"upload:{job}" for job in (1, 2, 1, 2, 1, 1, 1, 1)]


class Uploads:
    """Files that ask for `at_once` pieces ahead, and a count of the turns of others while one waits with nothing."""

    def __init__(self, leases: Leases, pieces: list[int], at_once: int) -> None:
        self.leases, self._at_once = leases, at_once
        self._left = {job: [upload(job, piece) for piece in range(count)] for job, count in enumerate(pieces)}
        self._turns: Counter[tuple[str, str]] = Counter()  # (who waits with nothing, who had a turn meanwhile)
        self._seen: set[str] = set()

    def ask(self) -> None:
        for job, left in self._left.items():
            at_it = [*self.leases.waiting, *(lease.claim for lease in self.leases.held)]
            for _ in range(min(self._at_once - sum(c.job == f"upload:{job}" for c in at_it), len(left))):
                self.leases.ask(left.pop(0), 0)
                self.look()

    def look(self) -> None:
        held = [lease.claim for lease in self.leases.held]
        starved = {claim.job for claim in self.leases.waiting} - {claim.job for claim in held}
        new = [claim for claim in held if claim.holder not in self._seen]
        self._seen |= {claim.holder for claim in new}
        self._turns.update((job, claim.job) for claim in new for job in starved)
        self._turns = Counter({pair: count for pair, count in self._turns.items() if pair[0] in starved})
        assert all(count <= 1 for count in self._turns.values())

    @property
    def over(self) -> bool:
        return not any(self._left.values()) and not self.leases.held


@given(
    pieces=st.lists(st.integers(1, 8), min_size=2, max_size=5),
    shared=st.integers(1, 4),
    at_once=st.integers(1, 8),
    ends=st.lists(st.integers(0, 100), min_size=40, max_size=40),
)
@settings(deadline=None, max_examples=200)
def test_no_upload_has_two_turns_while_another_waits_with_nothing(
    pieces: list[int], shared: int, at_once: int, ends: list[int]
) -> None:
    uploads = Uploads(Leases(shared + 2, 2, SECONDS), pieces, at_once)
    for end in ends:
        uploads.ask()
        if held := uploads.leases.held:
            uploads.leases.release(held[end % len(held)].claim.holder, 0)
            uploads.look()
    assert uploads.over


@given(st.integers(0, 20), st.integers(1, 5))
def test_uploads_never_take_what_is_reserved_for_streams(waiting: int, streams: int) -> None:
    leases = Leases(8, 5, SECONDS)
    for piece in range(waiting):
        leases.ask(upload(piece % 3, piece), 0)
    for n in range(streams):
        assert leases.ask(Claim(f"partition:t:{n}", Kind.STREAM, f"partition:t:{n}"), 0)
    assert sum(lease.claim.kind is Kind.UPLOAD for lease in leases.held) == min(waiting, 3)
