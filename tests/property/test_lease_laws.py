"""The cap holds whatever happens: any order of asking, releasing, dying and time passing."""

from __future__ import annotations

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
