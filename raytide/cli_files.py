"""`raytide ingest`: files, folders and patterns, sent several at once, or tried out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import RaytideError, Refused
from raytide.answers import FileResult
from raytide.cli_file_bars import FileBars, going_on
from raytide.cli_file_reports import CheckedFile, report_checks, report_results, say_result
from raytide.cli_output import INTERRUPTED, Address, Json, connect, errors
from raytide.client import RaytideClient
from raytide.local_files import FileOptions, find
from raytide.uploads_client import PARALLEL

TABS = ("tab", r"\t")


def ingest(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders with all that is in them, or quoted patterns: 'data/*.csv.gz'.")
    ],
    source: Annotated[str, typer.Option("--source", "-s", help="The source whose records the files hold.")],
    file_format: Annotated[str | None, typer.Option("--format", help="csv, parquet or jsonl; otherwise by suffix.")] = None,
    compression: Annotated[str | None, typer.Option(help="none, gzip or zstd; otherwise by suffix, .gz or .zst.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of CSV: one of , ; | and tab.")] = None,
    null: Annotated[str | None, typer.Option(help="Of CSV: an unquoted text that stands for no value.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key of a single file; otherwise made from content, source and name.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Send so many files at once.")] = PARALLEL,
    max_rejects: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="More rejected rows than this fail a file, and nothing of it is stored."),
    ] = None,
    address: Address = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of the rows, and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Upload files through the same path as the stream: raytide ingest history.parquet --source features.

    Exit codes: 0 all are DONE, 1 some failed, 2 wrong use. A transfer that was cut goes on where it stopped when the same
    command is run again.
    """
    options = reject_limit(max_rejects)
    options |= FileOptions(format=file_format, compression=compression, null=null)
    options["delimiter"] = "\t" if delimiter in TABS else delimiter
    files = find(paths, file_format)
    with connect(address) as client:
        client.list_uploads(1)  # a wrong address is one sentence, not one for each file
        if dry_run:
            report_checks(list(_checked(client, files, source, options)), as_json=as_json)
        else:
            bars = FileBars(files)
            results = client.upload_files(
                files, source=source, parallel=parallel, idempotency_key=key, progress=bars.show, **options
            )
            report_results(_followed(results, bars, as_json=as_json), as_json=as_json)


def reject_limit(text: str | None) -> FileOptions:
    """Return what `--max-rejects` says; raise Refused when it is neither a number of rows nor a share of them."""
    if text is None:
        return FileOptions()
    number, percent, rest = text.partition("%")
    try:
        if percent and not rest and 0 <= float(number) <= 100:  # noqa: PLR2004 - per cent
            return FileOptions(max_reject_share=float(number) / 100)
        if not percent and int(number) >= 0:
            return FileOptions(max_rejects=int(number))
    except ValueError:
        pass
    raise Refused(f"--max-rejects is '{text}': write a number of rows such as 10, or a share of them such as 2.5%")


def _followed(results: Iterator[FileResult], bars: FileBars, *, as_json: bool) -> list[FileResult]:
    """Collect what became of the files; on Ctrl-C say what is still going on at the gateway, and exit."""
    ended: list[FileResult] = []
    try:
        with bars:
            for result in results:
                ended.append(result)
                bars.ended(result.path)
                if not (as_json or bars.on_terminal):
                    say_result(result)
    except KeyboardInterrupt:
        for line in going_on(bars.heard.values()):
            errors.print(line, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if bars.on_terminal and not as_json:  # the bars would have been in the way
        for result in ended:
            say_result(result)
    return ended


def _checked(client: RaytideClient, files: list[Path], source: str, options: FileOptions) -> Iterator[CheckedFile]:
    with FileBars(files) as bars:
        for path in files:
            try:
                yield CheckedFile(path, client.check_file(path, source=source, progress=bars.checking(path), **options))
            except RaytideError as error:
                yield CheckedFile(path, None, error)
            bars.ended(path)
