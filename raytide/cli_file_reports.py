"""What `raytide ingest` says at the end, for people and for programs, and with which exit code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from cluster.errors import RaytideError
from raytide.answers import CheckView, FileResult
from raytide.cli_output import errors, exit_code, output, print_json, print_table, readable


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What a file that was tried out would become, or why it could not be."""

    path: Path
    check: CheckView | None
    error: RaytideError | None = None

    @property
    def why(self) -> str:
        """Return why it would not be taken; empty when it would."""
        return str(self.error) if self.error else self.check.error if self.check else ""


def say_result(result: FileResult) -> None:
    """Print one line for a file, and why it failed."""
    upload = result.upload
    if upload is not None:
        line = f"{result.path}: {upload.state}, {upload.rows} rows, {upload.rejected} rejected ({upload.upload_id})"
        output.print(line, markup=False, highlight=False, soft_wrap=True)
    if not result.done:
        _say_error(result.path, result.why or "it was cancelled")


def report_results(results: Sequence[FileResult], *, as_json: bool) -> None:
    """Print the sum of several files, or all as JSON; exit unless all are DONE."""
    done = [result.upload for result in results if result.done and result.upload]
    totals = {
        "done": len(done),
        "failed": len(results) - len(done),
        "rows": sum(upload.rows for upload in done),
        "rejected": sum(upload.rejected for upload in done),
    }
    if as_json:
        print_json({**totals, "files": [_result(result) for result in results]})
    elif len(results) > 1:
        line = f"{totals['done']} of {len(results)} files are DONE: {totals['rows']} rows, {totals['rejected']} rejected"
        output.print(line, highlight=False)
    if totals["failed"]:
        raise typer.Exit(_code([result.error for result in results if not result.done], all_failed=not done))


def report_checks(checked: Sequence[CheckedFile], *, as_json: bool) -> None:
    """Print what would become of the files' rows; exit 1 when a file would not be taken."""
    refused = [file for file in checked if file.why]
    if as_json:
        counts = {"refused": len(refused), "dry_run": True}
        print_json({**counts, "files": [_check(file) for file in checked]})
    else:
        for file in checked:
            _say_check(file)
    if refused:
        raise typer.Exit(_code([file.error for file in refused], all_failed=len(refused) == len(checked)))


def _say_check(file: CheckedFile) -> None:
    found = file.check
    if found is not None:
        line = f"{file.path}: {found.rows} rows would be stored, {found.rejected} rejected"
        output.print(line, markup=False, highlight=False, soft_wrap=True)
        if found.reasons:
            print_table("rejected", ["reason", "rows"], sorted(found.reasons.items()))
        if found.examples:
            rows = [(e.row, e.reason, escape(e.detail), escape(readable(e.raw)["payload"] or "")) for e in found.examples]
            print_table("the first of them", ["row", "reason", "detail", "text"], rows)
    if file.why:
        _say_error(file.path, file.why)


def _result(result: FileResult) -> dict[str, Any]:
    known = asdict(result.upload) if result.upload else {"state": None}
    return {"path": str(result.path), **known, "error": result.why}


def _check(file: CheckedFile) -> dict[str, Any]:
    known = asdict(file.check) if file.check else {}
    if file.check:
        known["examples"] = [{**asdict(example), "raw": readable(example.raw)["payload"]} for example in file.check.examples]
    return {"path": str(file.path), **known, "error": file.why}


def _code(causes: Iterable[RaytideError | None], *, all_failed: bool) -> int:
    """Return 1, or the code of the one cause that nothing got past, such as a source that nobody knows."""
    codes = {exit_code(cause) if cause else 1 for cause in causes}
    return codes.pop() if all_failed and len(codes) == 1 else 1


def _say_error(path: Path, why: str) -> None:
    errors.print(f"[red]error:[/red] {escape(str(path))}: {escape(why)}", highlight=False, soft_wrap=True)
