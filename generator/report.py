"""What a person sees while it runs, and reads at the end."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from generator.tally import FileCount, PartitionCount, Report, UploadResult

_PLAIN_EVERY_S = 5.0


class ProgressLine:
    """One line that is renewed on a terminal; a line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live("", console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._next = time.monotonic() + _PLAIN_EVERY_S

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, report: Report) -> None:
        """Show how far the run is."""
        line = (
            f"{report.seconds:6.1f} s  sent {report.sent:,}  acknowledged {report.acknowledged:,}  failed {report.failed:,}  "
            f"{report.rate:,.0f}/s  files {len(report.uploads)}"
        )
        if self._live:
            self._live.update(line, refresh=True)
        elif time.monotonic() >= self._next:
            self._next += _PLAIN_EVERY_S
            self._console.print(line, highlight=False)


def print_report(report: Report, console: Console) -> None:
    """Print the closing report."""
    console.print(_partitions(report.partitions))
    if report.uploads:
        console.print(_uploads(report.uploads))
        console.print(_files(report.files))
    bad = ", ".join(f"{name} {count}" for name, count in report.bad.items()) or "none"
    lines = [
        f"acknowledged {report.acknowledged:,} of {report.sent:,} in {report.seconds:.1f} s ({report.rate:,.0f}/s)",
        f"failed {report.failed:,}",
        f"late {report.late:,}, duplicates {report.duplicates:,}, out of order {report.out_of_order:,}",
        f"bad {sum(report.bad.values()):,}: {bad}",
    ]
    if report.errors:
        errors = ", ".join(f"{name} {count}" for name, count in report.errors.items())
        lines.append(f"errors: {errors}; producers replaced {report.rebuilt_producers}")
    console.print("\n".join(lines), highlight=False, markup=False)


def _partitions(partitions: tuple[PartitionCount, ...]) -> Table:
    table = Table("topic", box=None, header_style="bold")
    for heading in ("partition", "sent", "acknowledged", "failed"):
        table.add_column(heading, justify="right")
    for count in partitions:
        partition = str(count.partition) if count.partition >= 0 else "-"
        table.add_row(count.topic, partition, f"{count.sent:,}", f"{count.acknowledged:,}", f"{count.failed:,}")
    return table


def _uploads(uploads: tuple[UploadResult, ...]) -> Table:
    table = Table("file", "sent", "state", box=None, header_style="bold")
    table.add_column("rows", justify="right")
    table.add_column("rejected", justify="right")
    table.add_column("note")
    for upload in uploads:
        table.add_row(upload.name, upload.way, upload.state, f"{upload.rows:,}", f"{upload.rejected:,}", _note(upload))
    return table


def _files(files: tuple[FileCount, ...]) -> Table:
    table = Table("files", box=None, header_style="bold")
    for heading in ("sent", "done", "rows acknowledged", "rejected"):
        table.add_column(heading, justify="right")
    for count in files:
        table.add_row(count.kind, *(f"{number:,}" for number in (count.sent, count.done, count.rows, count.rejected)))
    return table


def _note(upload: UploadResult) -> str:
    if upload.error:
        return upload.error
    if not upload.ok:
        return f"expected {upload.good:,} rows and {upload.bad:,} rejected"
    return f"resumed at byte {upload.resumed_at:,}" if upload.way == "cut" else ""
