"""The thread that uploads files: each kind in turn, and each in the ways that clients in the world have."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cluster.errors import RaytideError
from generator.cutting import send_a_part
from generator.files import File, Written, make_file
from generator.profiles import FEATURES_SOURCE, Settings
from generator.tally import Tally, UploadResult
from raytide.answers import UploadProgressView, UploadView
from raytide.client import RaytideClient
from raytide.local_files import FileOptions, describe


def upload(settings: Settings, tally: Tally, finished: threading.Event) -> None:
    """Upload at once and then every `uploads_every_s`, until the producers have finished."""
    begin, turn = time.monotonic(), 0
    with RaytideClient(str(settings.gateway)) as client, tempfile.TemporaryDirectory(prefix="raytide-generator-") as folder:
        uploader = Uploader(settings, client, Path(folder))
        while not finished.wait(max(0.0, begin + turn * settings.uploads_every_s - time.monotonic())):
            for result in uploader.turn():
                tally.uploaded(result)
            turn += 1


class Uploader:
    """Writes and sends files. A turn is one file, or two at once, in one of `settings.file_ways`."""

    def __init__(self, settings: Settings, client: RaytideClient, folder: Path) -> None:
        self._settings, self._client, self._folder = settings, client, folder
        self._turns = self._files = 0

    def turn(self) -> list[UploadResult]:
        """Send the next file, or the next two; return what became of them."""
        way = self._settings.file_ways[self._turns % len(self._settings.file_ways)]
        self._turns += 1
        files = [self._next() for _ in range(2 if way == "pair" else 1)]
        with ThreadPoolExecutor(len(files), thread_name_prefix="generator-file") as pool:
            return list(pool.map(partial(self._sent, way), files))

    def _next(self) -> File:
        self._files += 1
        return make_file(self._settings, self._files - 1, datetime.now(UTC))

    def _sent(self, way: str, file: File) -> UploadResult:
        written = file.write(self._folder)
        try:
            return self._result(way, file, written)
        except RaytideError as error:
            counts = {"good": written.good, "bad": written.bad}
            return UploadResult(file.name, file.kind, way, "", "FAILED", 0, 0, str(error), **counts, events=file.events)
        finally:
            written.path.unlink()

    def _result(self, way: str, file: File, written: Written) -> UploadResult:
        if way == "cut":
            options = FileOptions(format=file.format)
            send_a_part(str(self._settings.gateway), describe(written.path, FEATURES_SOURCE, options))
        begun: list[int] = []
        ended = self._upload(file, written.path, lambda view: begun.append(view.received))
        error = ended.error
        if way == "twice":
            again = self._upload(file, written.path, lambda _view: None)
            if again.upload_id != ended.upload_id:
                error = f"sent again, it was taken again, as {again.upload_id}"
        return UploadResult(
            name=file.name,
            kind=file.kind,
            way=way,
            upload_id=ended.upload_id,
            state=str(ended.state),
            rows=ended.rows,
            rejected=ended.rejected,
            error=error,
            good=written.good,
            bad=written.bad,
            resumed_at=begun[0] if way == "cut" else 0,
            events=file.events,
        )

    def _upload(self, file: File, path: Path, progress: Callable[[UploadProgressView], None]) -> UploadView:
        return self._client.upload_file(
            path, source=FEATURES_SOURCE, format=file.format, patience_s=self._settings.give_up_s, progress=progress
        )
