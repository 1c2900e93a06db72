"""How far files are: a bar for each one that is on its way and one for all, or nothing where nobody looks at a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cluster.stores.ports import UploadState
from raytide.answers import CheckView, UploadProgressView, UploadView
from raytide.cli_output import errors
from raytide.file_calls import ENDED


class FileBars:
    """Shows files by their path, from any thread. `heard` is the last word about each that has not ended."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = {path: path.stat().st_size for path in files}
        self._received: dict[Path, int] = {}
        self._tasks: dict[Path, TaskID] = {}
        self._lock = threading.Lock()
        self._bars = bars()
        self._all = self._bars.add_task(f"{len(files)} files", total=sum(self._sizes.values()), note="", visible=len(files) > 1)
        self.heard: dict[Path, UploadView] = {}

    @property
    def on_terminal(self) -> bool:
        """Say whether somebody can see the bars."""
        return not self._bars.disable

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, path: Path, view: UploadProgressView) -> None:
        """Take the gateway's word about a file."""
        with self._lock:
            self.heard[path] = view.upload
            self._move(path, view.received, note_of(view))
            if view.upload.state in ENDED:
                self._end(path)

    def checking(self, path: Path) -> Callable[[CheckView], None]:
        """Return what takes the gateway's words about a file that is tried out."""

        def show(view: CheckView) -> None:
            with self._lock:
                self._move(path, view.received, f"checking, {view.rejected} rejected")

        return show

    def ended(self, path: Path) -> None:
        """Take the bar of a file away, however it ended."""
        with self._lock:
            self._end(path)

    def _move(self, path: Path, received: int, note: str) -> None:
        if path not in self._tasks:
            self._tasks[path] = self._bars.add_task(escape(path.name), total=self._sizes[path], note="")
        self._bars.update(self._tasks[path], completed=received, note=note)
        self._advance(path, received)

    def _end(self, path: Path) -> None:
        self.heard.pop(path, None)
        self._advance(path, self._sizes[path])
        if (task := self._tasks.pop(path, None)) is not None:
            self._bars.remove_task(task)

    def _advance(self, path: Path, received: int) -> None:
        self._received[path] = received
        self._bars.update(self._all, completed=sum(self._received.values()))


def bars() -> Progress:
    """Return bars on the error output, which are not there when that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=errors,
        disable=not errors.is_terminal,
    )


def note_of(view: UploadProgressView) -> str:
    """Return what stands behind a file's bar: its state, its pieces, and what was rejected so far."""
    pieces = f" {view.pieces_done} of {view.pieces_total or view.pieces_split} pieces" if view.pieces_split else ""
    return f"{view.upload.state}{pieces}, {max(view.upload.rejected, view.rows_rejected)} rejected"


def going_on(uploads: Iterable[UploadView]) -> Iterator[str]:
    """Return, for somebody who stops looking, what is still going on at the gateway, and how to follow or end it."""
    for upload in uploads:
        if upload.state is UploadState.RECEIVING:
            what = "is not all there: the same command goes on where it stopped"
        else:
            what = f"goes on without this command: raytide uploads watch {upload.upload_id}"
        yield f"{upload.name} {what}; raytide uploads cancel {upload.upload_id} drops it"
