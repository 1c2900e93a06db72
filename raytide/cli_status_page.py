"""What `raytide status` shows, as a page for a terminal and as plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from cluster.ingest.stream import State
from cluster.monitoring.troubles import Trouble, Weight, age, troubles
from cluster.status import OnlineReport, OnlineState, PartitionReport, SpoolReport, StatusReport
from cluster.stores.ports import Upload
from raytide.cli_output import table, time_text

SHOWN_UPLOADS = 5
COLOURS = {Weight.ACT: "bold red", Weight.WAITS: "yellow", Weight.SLOW: "yellow"}
#: From the one that needs a person most to the one that needs nobody.
_URGENCY = (State.HALTED, State.AWAY, State.FENCED, State.WAITING, State.PAUSED, State.STOPPED, State.STARTING, State.RUNNING)


def page(report: StatusReport, before: StatusReport | None = None, most: int | None = None) -> Group:
    """Return the page: what needs a look, then everything. With an earlier report partitions have a rate.

    At most `most` partitions are shown, those first that need a look.
    """
    return Group(
        f"{report.project}, registry version {report.registry_version}",
        *_needs_a_look(troubles(report)),
        *_parts(report),
        _gateways(report),
        _partitions(report, before, most),
        *_left_out(report.partitions, most),
        _uploads(report),
    )


def lines(report: StatusReport, before: StatusReport | None = None) -> Iterator[str]:
    """Yield one line with the numbers, and one for each thing that needs a look."""
    behind = max((p.lag_seconds or 0.0 for p in report.partitions), default=0.0)
    lag = sum(p.lag or 0 for p in report.partitions)
    rates = _rates(report, before)
    speed = f", {sum(rates.values()):,.0f} events/s" if rates else ""
    states = Counter(p.state for p in report.partitions)
    yield (
        f"{time_text(report.taken_at)} partitions {_counted(states)}, {lag:,} records and {behind:.0f} s behind{speed}; "
        f"writer {report.writer.state}; online store {report.online.state}; "
        f"workers {len(report.limiter.held)} of {report.limiter.slots}"
    )
    for trouble in troubles(report):
        yield f"  ! {trouble.what}: {trouble.why}"


def spool_line(spool: SpoolReport) -> str:
    """Return how much is kept of uploaded files as a few words."""
    kept = f"{spool.files} files and {spool.receiving} beginnings, {spool.bytes / 2**20:.1f} MiB"
    return f"{kept}; at most {spool.budget_bytes / 2**30:.1f} GiB of originals"


def online_line(online: OnlineReport) -> str:
    """Return the state of the online store as a few words."""
    if online.state is OnlineState.REBUILDING:
        done = f"REBUILDING: {online.entities_done:,} of {online.entities_total:,} entities"
        return f"{done}, {online.note}" if online.note else done
    return f"{online.state}: {online.note}" if online.note else str(online.state)


def _needs_a_look(found: Sequence[Trouble]) -> Iterator[str]:
    if not found:
        yield "[green]all is well[/green]"
    for trouble in found:
        yield f"[{COLOURS[trouble.weight]}]! {escape(trouble.what)}[/]: {escape(trouble.why)}"


def _parts(report: StatusReport) -> Iterator[str]:
    where, limiter, writer = report.endpoints, report.limiter, report.writer
    yield f"  Kafka {where.bootstrap_servers} · Redis {where.redis_url} · gRPC {where.gateway} · dashboard {where.dashboard}"
    yield (
        f"  writer {writer.state}: {writer.rows} rows in {writer.commits} commits, {writer.queued_batches} batches wait, "
        f"file {writer.file_bytes / 2**20:.1f} MiB, {writer.free_bytes / 2**30:.1f} GiB free"
    )
    yield f"  online store {escape(online_line(report.online))}"
    yield f"  spool {spool_line(report.spool)}"
    yield (
        f"  workers {len(limiter.held)} of {limiter.slots} at work ({_counted(Counter(s.kind for s in limiter.held))}), "
        f"{len(limiter.waiting)} wait, at most {limiter.most_at_once} so far"
    )


def _gateways(report: StatusReport) -> Table:
    return table(
        "gateway processes",
        ["process", "state", "address", "note"],
        [(one.name, one.state, one.address, one.note) for one in report.gateways],
    )


def _partitions(report: StatusReport, before: StatusReport | None, most: int | None) -> Table:
    rates = _rates(report, before)
    return table(
        "partitions",
        ["partition", "state", "next", "behind", "seconds", "events", "events/s", "rejected", "note"],
        [
            (
                *(f"{p.topic}[{p.partition}]", p.state, p.next_offset, p.lag),
                *(None if p.lag_seconds is None else round(p.lag_seconds), p.events, rates.get((p.topic, p.partition))),
                *(p.rejected, escape(p.note)),
            )
            for p in _worst_first(report.partitions)[:most]
        ],
    )


def _worst_first(partitions: Sequence[PartitionReport]) -> list[PartitionReport]:
    return sorted(partitions, key=lambda p: (_URGENCY.index(State(p.state)), -(p.lag_seconds or 0.0)))


def _left_out(partitions: Sequence[PartitionReport], most: int | None) -> Iterator[str]:
    if most is not None and (left := _worst_first(partitions)[most:]):
        yield f"  and {len(left)} more: {_counted(Counter(p.state for p in left))}"


def _uploads(report: StatusReport) -> Table:
    return table(
        "uploads",
        ["upload", "source", "state", "seconds", "rows", "rejected", "error"],
        [_upload(upload, report.taken_at) for upload in report.uploads[:SHOWN_UPLOADS]],
    )


def _upload(upload: Upload, now_us: int) -> tuple[object, ...]:
    seconds = round(age(upload, now_us))
    return escape(upload.name), upload.source, str(upload.state), seconds, upload.rows, upload.rejected, escape(upload.error)


def _rates(report: StatusReport, before: StatusReport | None) -> dict[tuple[str, int], int]:
    """Return events per second of each partition since an earlier report; of an actor that began anew, none."""
    if before is None or report.taken_at <= before.taken_at:
        return {}
    seconds = (report.taken_at - before.taken_at) / 1e6
    known = {(p.topic, p.partition): p.events for p in before.partitions}
    found = {(p.topic, p.partition): p.events - known.get((p.topic, p.partition), p.events) for p in report.partitions}
    return {key: round(events / seconds) for key, events in found.items() if events >= 0}


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
