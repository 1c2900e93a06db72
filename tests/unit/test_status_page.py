"""A stranger before `raytide status`: which partition is behind, which file is slow, why did one halt? From the top lines."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cluster.ingest.stream import State
from cluster.monitoring.troubles import FAILED_SECONDS, FREE_BYTES, SLOW_SECONDS, Weight, troubles
from cluster.status import LimiterReport, OnlineReport, OnlineState, PartitionReport, SlotReport, StatusReport, WriterReport
from cluster.stores.ports import Upload, UploadState
from raytide.cli_status_page import lines, page

NOW = 1_700_000_000_000_000
S = 1_000_000
HALT = (
    "1000 records in a row were rejected, most of them malformed_json, such as offset 41. "
    "Nothing from offset 40 on was stored. Correct the producer or the definitions and run `raytide partitions resume orders 3`"
)
FINE = tuple(
    PartitionReport("orders", n, str(State.RUNNING), "", f"partition:orders:{n}", 1, 100, 100, 100, lag_seconds=0.0)
    for n in range(8)
)
WRITER = WriterReport("RUNNING", "", 10, 20, 30, file_bytes=2**20, free_bytes=2 * FREE_BYTES)
WELL = StatusReport("shop", 4, NOW, partitions=FINE, writer=WRITER, online=OnlineReport(OnlineState.OK))


def with_partition(report: StatusReport, n: int, **changes: object) -> StatusReport:
    changed = replace(report.partitions[n], **changes)  # type: ignore[arg-type] # names are PartitionReport's own
    return replace(report, partitions=(*report.partitions[:n], changed, *report.partitions[n + 1 :]))


def upload(name: str, state: UploadState, seconds: float, error: str = "", rows: int = 0) -> Upload:
    began = NOW - int(seconds * S)
    return Upload(f"id-{name}", "k", name, "orders", "csv", "aa", 10, state, rows, 0, error, began, began)


def shown(report: StatusReport, before: StatusReport | None = None, most: int | None = None) -> list[str]:
    screen = Console(file=io.StringIO(), width=400)
    screen.print(page(report, before, most))
    return str(screen.file.getvalue()).splitlines()  # type: ignore[attr-defined] # it is the StringIO


def of_interest(report: StatusReport) -> list[str]:
    """Return the lines at the top that need a look: all that a stranger has to read."""
    return [line for line in shown(report) if line.startswith("! ")]


def test_all_is_well() -> None:
    assert shown(WELL)[:2] == ["shop, registry version 4", "all is well"]
    assert not troubles(WELL)


def test_which_partition_is_behind() -> None:
    late = with_partition(WELL, 5, end_offset=120_100, lag_seconds=40.0, in_flight=3)
    (line,) = of_interest(late)
    assert line == "! orders[5] is behind: 120,000 records, the oldest for 40 s; 3 batches in flight"
    rows = [line for line in shown(late) if "orders[" in line and not line.startswith("!")]
    assert "orders[5]" in rows[0], "it comes first in the table"


def test_a_partition_that_is_late_by_what_is_on_its_way_is_not_behind() -> None:
    assert not troubles(with_partition(WELL, 5, end_offset=5_000, lag_seconds=2.0, in_flight=3))


def test_why_a_partition_is_behind_when_no_worker_slot_is_free() -> None:
    late = with_partition(WELL, 5, end_offset=200, lag_seconds=40.0)
    waiting = (SlotReport("partition:orders:5", "stream", "partition:orders:5"),)
    (line,) = of_interest(replace(late, limiter=LimiterReport(4, 1, 4, (), waiting)))
    assert line.endswith("it waits for a worker slot (workers.max)")


def test_why_a_partition_halted_and_how_it_goes_on() -> None:
    late = with_partition(WELL, 5, end_offset=120_100, lag_seconds=40.0)
    halted = with_partition(late, 3, state=str(State.HALTED), note=HALT, end_offset=90_000)
    first, second = of_interest(halted)
    assert first == f"! orders[3] is HALTED: {HALT}", "what needs a person comes first"
    assert second.startswith("! orders[5] is behind")


def test_what_a_partition_waits_for() -> None:
    (line,) = of_interest(with_partition(WELL, 2, state=str(State.PAUSED), note="Redis at h:1/0 cannot be reached; start it"))
    assert line == "! orders[2] is PAUSED: Redis at h:1/0 cannot be reached; start it"


def test_a_partition_that_runs_may_need_somebody_all_the_same() -> None:
    (trouble,) = troubles(with_partition(WELL, 2, note="rejected records are in quarantine, but not in topic dl: create it"))
    assert (trouble.weight, trouble.what) == (Weight.ACT, "orders[2] runs, but")


def test_which_file_is_slow_and_why() -> None:
    slow = upload("big.csv", UploadState.PROCESSING, 90, rows=1_200_000)
    quick = upload("small.csv", UploadState.PROCESSING, SLOW_SECONDS / 2)
    slots = LimiterReport(
        *(2, 1, 2),
        held=(SlotReport("gateway:1:id-big.csv:0", "upload", "id-big.csv"), SlotReport("x", "backfill", "b")),
        waiting=tuple(SlotReport(f"gateway:1:id-big.csv:{n}", "upload", "id-big.csv") for n in range(3)),
    )
    (line,) = of_interest(replace(WELL, uploads=(quick, slow, upload("old.csv", UploadState.DONE, 9_000)), limiter=slots))
    assert line == (
        "! file big.csv (id-big.csv) is slow: PROCESSING for 90 s, 1,200,000 rows so far; "
        "workers at it: 1, waiting for a slot: 3; 2 of 2 slots are taken"
    )


def test_a_file_whose_sender_is_gone() -> None:
    (line,) = of_interest(replace(WELL, uploads=(upload("cut.csv", UploadState.RECEIVING, 100),)))
    assert "its bytes are still on their way, or its sender is gone" in line


def test_a_file_that_failed_is_told_for_a_while_with_its_error() -> None:
    failed = upload("bad.csv", UploadState.FAILED, FAILED_SECONDS - 1, "no column 'amount' in line 1")
    (line,) = of_interest(replace(WELL, uploads=(failed,)))
    assert line == "! file bad.csv (id-bad.csv) FAILED: no column 'amount' in line 1"
    assert not troubles(replace(WELL, uploads=(replace(failed, updated_at=failed.updated_at - 2 * S),)))


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (replace(WELL, writer=WriterReport(note="does not answer for 7 s")), "! writer is AWAY: does not answer for 7 s"),
        (
            replace(WELL, writer=replace(WRITER, free_bytes=FREE_BYTES - 1)),
            "! disk of the history is nearly full: 5.0 GiB are left: make room, before streams have to wait",
        ),
        (replace(WELL, online=OnlineReport(OnlineState.AWAY, "Redis is away")), "! online store is AWAY: Redis is away"),
        (replace(WELL, online=OnlineReport()), "! online store is UNKNOWN: nobody has looked yet"),
        (
            replace(WELL, online=OnlineReport(OnlineState.REBUILDING, "", 12_000, 100_000)),
            "! online store is REBUILDING: 12,000 of 100,000 entities are written; until then a read may miss values",
        ),
        (with_partition(WELL, 1, state=str(State.STARTING)), "! orders[1] is STARTING: it has not said more yet"),
    ],
)
def test_what_else_can_be_wrong(report: StatusReport, line: str) -> None:
    assert of_interest(report) == [line]


def test_text_of_others_is_no_markup() -> None:
    (line,) = of_interest(with_partition(WELL, 2, state=str(State.PAUSED), note="a [red]note[/red] of [brackets]"))
    assert line.endswith("a [red]note[/red] of [brackets]")


def test_a_small_terminal_shows_the_worst_and_counts_the_rest() -> None:
    halted = with_partition(WELL, 7, state=str(State.HALTED), note=HALT)
    seen = shown(halted, most=2)
    assert [line for line in seen if "orders[7]" in line and "HALTED" in line and not line.startswith("!")]
    assert "  and 6 more: 6 RUNNING" in seen


def test_events_per_second_are_those_between_two_looks() -> None:
    later = replace(with_partition(WELL, 1, events=1_100), taken_at=NOW + 2 * S)
    (row,) = [line for line in shown(later, before=WELL) if "orders[1]" in line]
    assert " 500 " in row
    began_anew = replace(with_partition(WELL, 1, events=50), taken_at=NOW + 2 * S)
    (row,) = [line for line in shown(began_anew, before=WELL) if "orders[1]" in line]
    assert "-" not in row


def test_plain_lines_for_what_is_no_terminal() -> None:
    halted = with_partition(WELL, 3, state=str(State.HALTED), note=HALT, end_offset=150, lag_seconds=12.0)
    first, second = lines(replace(halted, taken_at=NOW + S), halted)
    assert first == (
        "2023-11-14T22:13:21+00:00 partitions 1 HALTED, 7 RUNNING, 50 records and 12 s behind, 0 events/s; "
        "writer RUNNING; online store OK; workers 0 of 0"
    )
    assert second == f"  ! orders[3] is HALTED: {HALT}"
