"""What is said of offsets that are gone, and how a reset is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cluster.errors import NotFound, Refused
from cluster.ingest.resets import Reset, gone
from cluster.records import PartitionStart
from cluster.resets import Parts, ResetAnswer, ResetRequest, reset_partition
from cluster.status import PartitionReport
from cluster.verify.report import Declared
from raytide import cli_partitions_reset
from raytide.cli import app
from raytide.cli_verify import describe, verdict

REQUEST = ResetRequest("events", 0, "earliest", "me")


def test_what_is_missing_is_named_with_each_way_on() -> None:
    text = str(gone("events", 2, 100, 130, 150))
    assert "events[2]: offsets [100, 130) are missing, 30 in all" in text
    for target in ("earliest", "latest", "OFFSET"):
        assert f"`raytide partitions reset events 2 --to {target}`" in text
    assert "gives up 20 more" in text


def test_a_log_that_lost_its_end_is_told_from_retention() -> None:
    text = str(gone("events", 2, 100, 0, 50))
    assert "the next record to read is 100, but Kafka's log ends at 50" in text
    assert "--to latest" in text
    assert "--to earliest" not in text
    assert "lost a part of its log before offset 20" in str(gone("events", 2, 20, 0, 50))


@dataclass
class Fake:
    """Kafka, the writer and the cluster at once: offsets 7 to 11 of topic `one`, read up to 4."""

    state: str = "HALTED"
    count: int | None = 1
    topic_id: str = "one"
    known: list[dict[str, int]] = field(default_factory=lambda: [{"epoch": 1, "next_offset": 4, "incarnation": 0}])
    resets: list[Reset] = field(default_factory=list)
    restarted: list[tuple[str, int]] = field(default_factory=list)

    def partitions_of(self, topic: str) -> int | None:
        assert topic == "events"
        return self.count

    def identity(self, _topic: str) -> str | None:
        return self.topic_id

    def bounds(self, _topic: str, _partition: int) -> tuple[int, int]:
        return 7, 12

    def query(self, sql: str, _parameters: Sequence[Any] = ()) -> pa.Table:
        if "topics" in sql:
            return pa.Table.from_pylist([{"incarnation": 0, "topic_id": "one"}])
        return pa.Table.from_pylist(self.known)

    def reset_partition(self, reset: Reset) -> PartitionStart:
        self.resets.append(reset)
        return PartitionStart(2, reset.target)

    @property
    def parts(self) -> Parts:
        reports = [PartitionReport("events", 0, self.state), PartitionReport("orders", 0, "RUNNING")]
        return Parts(self, self, lambda: reports, lambda *key: self.restarted.append(key), 3)


def test_a_reset_goes_to_the_writer_and_the_partition_begins_anew() -> None:
    fake = Fake()
    answer = reset_partition(fake.parts, REQUEST)
    assert (answer.previous, answer.next) == (4, 7)
    [loss] = answer.declared
    assert (loss.first, loss.next, loss.offsets, loss.declared_by) == (4, 7, 3, "me")
    assert fake.resets == [Reset("events", 0, 7, 7, 12, "one", 3, "me", expected=4)]
    assert fake.restarted == [("events", 0)]


def test_a_dry_run_only_says_what_it_would_do() -> None:
    fake = Fake()
    dry = reset_partition(fake.parts, replace(REQUEST, target="latest", dry_run=True))
    assert (dry.next, dry.declared[0].offsets) == (12, 8)
    assert (fake.resets, fake.restarted) == ([], [])


@pytest.mark.parametrize(
    ("fake", "request_", "error", "message"),
    [
        (Fake(), replace(REQUEST, topic="event"), NotFound, "topic: no source reads 'event'; did you mean 'events'"),
        (Fake(), replace(REQUEST, partition=3), NotFound, "partition: events has no partition 3; there are 0"),
        (Fake(), replace(REQUEST, target="-1"), Refused, "target: '-1' is not an offset"),
        (Fake(), replace(REQUEST, target="3"), Refused, "offset 3 does not exist"),
        (Fake(), replace(REQUEST, expected=2), Refused, "it was at 2 and is at 4"),
        (Fake(state="RUNNING"), REQUEST, Refused, r"events\[0\] is RUNNING"),
        (Fake(count=None), REQUEST, Refused, "is not in Kafka"),
        (Fake(known=[]), REQUEST, NotFound, "was never read"),
    ],
)
def test_what_cannot_be_is_refused(fake: Fake, request_: ResetRequest, error: type[Refused], message: str) -> None:
    with pytest.raises(error, match=message):
        reset_partition(fake.parts, request_)
    assert (fake.resets, fake.restarted) == ([], [])


def test_a_partition_that_runs_where_it_should_is_left_alone() -> None:
    fake = Fake(state="RUNNING", known=[{"epoch": 2, "next_offset": 7, "incarnation": 0}])
    assert reset_partition(fake.parts, REQUEST).declared == ()
    assert (fake.resets, fake.restarted) == ([], [])


def test_verify_never_claims_that_nothing_was_lost_when_something_was_declared() -> None:
    loss = {"topic": "t", "partition": 0, "incarnation": 0, "first": 4, "next": 7, "offsets": 3, "reason": "retention"}
    loss |= {"declared_by": "me", "declared_at_us": 0}
    unknown = loss | {"next": None, "offsets": None, "incarnation": 1}
    assert verdict({"declared": []}) == "nothing lost, doubled or stale"
    assert verdict({"declared": [loss, loss]}) == "nothing lost but the 6 offsets that were declared; nothing doubled or stale"
    assert "what Kafka lost before it was read" in verdict({"declared": [unknown]})
    assert describe(loss) == "t[0] [4, 7), 3 offsets, by me at 1970-01-01T00:00:00+00:00: retention"
    assert "(incarnation 1) from 4 on, nobody knows how many" in describe(unknown)


class FakeClient:
    """Answers each reset with a loss of three offsets."""

    def __init__(self) -> None:
        self.asked: list[ResetRequest] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def reset_partition(self, request: ResetRequest) -> ResetAnswer:
        self.asked.append(request)
        return ResetAnswer(4, 7, (Declared("events", 0, 0, 4, 7, 3, "retention", "me", 0),))


@pytest.mark.parametrize(("answer", "asked"), [("y\n", 2), ("n\n", 1)])
def test_the_command_shows_what_is_lost_asks_and_does_exactly_that(
    monkeypatch: pytest.MonkeyPatch, answer: str, asked: int
) -> None:
    client = FakeClient()
    monkeypatch.setattr(cli_partitions_reset, "connect", lambda _: client)
    monkeypatch.setattr(cli_partitions_reset, "on_a_terminal", lambda: True)
    arguments = ["partitions", "reset", "events", "0", "--to", "earliest", "--by", "me"]
    done = CliRunner().invoke(app, arguments, input=answer)
    assert "would be declared lost, for ever: events[0] [4, 7), 3 offsets" in " ".join(done.output.split())
    assert client.asked[0] == replace(REQUEST, dry_run=True)
    assert client.asked[1:] == [replace(REQUEST, target="7", expected=4)][: asked - 1]
    assert (done.exit_code == 0) == (asked == 2)
