"""What goes on while something dies: events with bad ones among them, and files, each sent until it is DONE."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.errors import RaytideError
from generator.drive import run
from generator.files import File, make_file
from generator.profiles import FEATURES_SOURCE, Profile, Settings
from raytide.client import RaytideClient
from tests.fault.truth import Truth
from tests.fault.world import Stuck, World, eventually

EVENTS_PER_SECOND = 2_000.0
FILE_ROWS = 3_000
#: Two batches a second from each producer: more would only keep this machine busy, and seconds are counted meanwhile.
BATCH_S = 0.5
#: A pause between two files, the longer one after the first few of a round; and before a file that was not taken is sent again.
BETWEEN_FILES_S, BETWEEN_LATER_FILES_S, BETWEEN_TRIES_S = 0.5, 1.5, 0.2
FIRST_FILES = 2
END_SECONDS = 60.0
#: How long the client goes on at one address. A gateway that starts again may have another.
SAME_ADDRESS_S = 2.0
#: When a producer counts a message as failed. It may be in the log all the same: the judge reads what it finds there.
GIVE_UP_S = 10.0
NEXT_SEED = 1_000_000

PROFILE = Profile(rate=EVENTS_PER_SECOND, orders=0.2, bad=0.02, late=0.03, duplicate=0.02, out_of_order=0.05, null=0.02)


class Traffic:
    """Sends from `__enter__` to `finish`. The same seed sends the same events and files, with times of now."""

    def __init__(self, world: World, truth: Truth, seed: int, profile: Profile = PROFILE) -> None:
        self._world, self.truth = world, truth
        self._settings = Settings(
            bootstrap_servers=world.bootstrap,
            profile=profile,
            entities=200,
            seed=seed,
            start=datetime.now(UTC),
            batch_messages=1_000,
            batch_seconds=BATCH_S,
            upload_rows=FILE_ROWS,
            give_up_s=GIVE_UP_S,
        )
        self._stop, self._run_stop = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._stream), threading.Thread(target=self._files)]
        self._failures: list[BaseException] = []
        self.files = 0
        self._last_refusal = ""

    def __enter__(self) -> Self:
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # brokers that are away are the purpose
        before = self.truth.acknowledged
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.truth.acknowledged > before or self._failures, "traffic flows")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._run_stop.set()
        for thread in self._threads:
            thread.join(END_SECONDS)

    def finish(self) -> None:
        """Stop sending, and wait for every answer; raise what went wrong."""
        self.__exit__(None, None, None)
        if any(thread.is_alive() for thread in self._threads):
            raise AssertionError("traffic did not end")
        if self._failures:
            raise self._failures[0]

    def goes_on(self) -> None:
        """Return when some hundred more events have been acknowledged."""
        before = self.truth.acknowledged
        eventually(lambda: self.truth.acknowledged > before + 500 or self._failures, "traffic goes on")

    def _stream(self) -> None:
        self._guarded(self._run_generator)

    def _run_generator(self) -> None:
        """Send until the end; a run that gave up on Kafka is followed by the next."""
        number = 0
        while not self._stop.is_set():
            self._run_stop = threading.Event()
            if self._stop.is_set():  # it was set before it could reach this run
                return
            settings = replace(self._settings, seed=self._settings.seed + number * NEXT_SEED, start=datetime.now(UTC))
            with contextlib.suppress(RaytideError):
                run(settings, self.truth.observe, self._run_stop)
            number += 1
            self._stop.wait(BETWEEN_TRIES_S)

    def _files(self) -> None:
        self._guarded(self._send_files)

    def _send_files(self) -> None:
        with tempfile.TemporaryDirectory(prefix="raytide-fault-") as folder:
            while not self._stop.is_set():
                file = make_file(self._settings, self.files, datetime.now(UTC))
                self._until_done(file, file.write(Path(folder)).path)
                self.files += 1
                self._stop.wait(BETWEEN_FILES_S if self.files < FIRST_FILES else BETWEEN_LATER_FILES_S)

    def _until_done(self, file: File, path: Path) -> None:
        """Send a file as a careful client does: again under the same key until it is DONE."""

        def done() -> str:
            address = self._world.gateway()
            if not address:
                return ""
            try:
                with RaytideClient(address, timeout_s=30) as client:
                    upload = client.upload_file(path, source=FEATURES_SOURCE, format=file.format, patience_s=SAME_ADDRESS_S)
            except RaytideError as error:
                self._last_refusal = f"{type(error).__name__}: {error}"
                return ""
            self._last_refusal = f"{upload.state}: {upload.error}"
            return upload.upload_id if upload.state == "DONE" else ""

        try:
            upload_id = eventually(done, f"{file.name} is DONE", END_SECONDS, BETWEEN_TRIES_S)
        except Stuck as stuck:
            raise Stuck(f"{stuck}; last said: {self._last_refusal}") from None
        self.truth.uploaded(upload_id, file.events)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a thread's end would be silent
            self._failures.append(error)
