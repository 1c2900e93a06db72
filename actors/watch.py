"""Ends a process that is there and does nothing, frozen or hung: Ray restarts what dies, but waits for ever for what does not.

Killing is always safe (docs/delivery.md) and only costs time, so the care taken here is for a machine under load: an
actor is asked again and again on a thread that its work does not block, and one that still uses the processor gets longer.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil
import ray
import structlog
from ray.exceptions import RayError

from actors import handles
from cluster.errors import RetryLater
from cluster.monitoring.metrics import ACTOR_RESTARTS, Metrics

LOOK_SECONDS = 1.0
SAID_SECONDS = 3.0  # a shorter silence is not worth a word
SHOWN_SECONDS = 60.0
BUSY_PATIENCE = 6
IDLE_SHARE = 0.01  # of a core: what Ray's own threads in a process may use without its doing anything


@dataclass
class _Asked:
    """One actor, as last heard: whether this process of it ever answered, where, and which it is while on this node."""

    answer: Any | None = None
    since: float = 0.0
    heard: bool = False
    process: psutil.Process | None = None
    cpu: float = 0.0
    place: tuple[str, int] | None = None
    replaced: tuple[float, str] = (float("-inf"), "")


class AnswerWatch:
    """Asks the actors that `names` gives, and replaces those that stay silent for `seconds`. Runs until `stop` is set."""

    def __init__(self, names: Callable[[], Iterable[str]], seconds: float, stop: threading.Event, metrics: Metrics) -> None:
        self._names, self._limit, self._stop, self._metrics = names, seconds, stop, metrics
        self._asked: dict[str, _Asked] = {}
        self._looked = time.monotonic()
        self._log = structlog.get_logger()
        self._thread = threading.Thread(target=self._live, name="answer-watch", daemon=True)
        self._thread.start()

    def notes(self) -> dict[str, str]:
        """Return one sentence for each actor that does not answer, or did not and was replaced a short while ago."""
        now, found = time.monotonic(), {}
        for name, asked in list(self._asked.items()):
            silent = now - asked.since if asked.answer is not None else 0.0
            if silent > SAID_SECONDS:
                found[name] = f"does not answer for {silent:.0f} s; it is replaced when that goes on"
            elif now - asked.replaced[0] < SHOWN_SECONDS:
                found[name] = asked.replaced[1]
        return found

    def _live(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("answer_look_failed")

    def _look(self) -> None:
        now = time.monotonic()
        # Frozen were we ourselves: answers that came meanwhile have not been taken in yet.
        late, self._looked = now - self._looked > 3 * LOOK_SECONDS, now
        names = set(self._names())
        self._asked = {name: self._asked.get(name, _Asked()) for name in sorted(names)}
        for name, asked in self._asked.items():
            if asked.answer is None or ray.wait([asked.answer], timeout=0, fetch_local=False)[0]:
                self._hear(name, asked)
                self._ask(name, asked, now)
            elif late:
                asked.since = now
            elif self._is_stuck(asked, now - asked.since):
                self._replace(name, asked, now - asked.since)

    def _hear(self, name: str, asked: _Asked) -> None:
        """Take an answer in; an error is Ray's, which restarts the actor by itself."""
        answer, asked.answer = asked.answer, None
        asked.heard, asked.process = False, None
        with contextlib.suppress(RetryLater, RayError, psutil.Error):
            node, pid = handles.value(answer, "an actor", LOOK_SECONDS) if answer is not None else ("", 0)
            asked.heard = pid != 0
            self._count_restart(name, asked, (node, pid))
            if node == ray.get_runtime_context().get_node_id():
                asked.process = psutil.Process(pid)
                asked.cpu = _cpu(asked.process)

    def _count_restart(self, name: str, asked: _Asked, place: tuple[str, int]) -> None:
        if place[1]:
            if asked.place not in (None, place):
                self._metrics.add(ACTOR_RESTARTS, 1, name.partition(":")[0])
            asked.place = place

    def _ask(self, name: str, asked: _Asked, now: float) -> None:
        with contextlib.suppress(RetryLater, RayError):
            asked.answer, asked.since = handles.Remote(name).start("__ray_call__", where), now

    def _is_stuck(self, asked: _Asked, silent: float) -> bool:
        if silent < self._limit or not asked.heard:  # a writer that starts may have a long log to replay
            return False
        if asked.process is None:  # on another node, where its processor cannot be seen
            return silent > BUSY_PATIENCE * self._limit
        with contextlib.suppress(psutil.Error):
            idle = _cpu(asked.process) - asked.cpu < IDLE_SHARE * silent
            starved = asked.process.status() == psutil.STATUS_RUNNING  # wants the processor, and others have it
            return (idle and not starved) or silent > BUSY_PATIENCE * self._limit
        return False  # it is gone: Ray's turn

    def _replace(self, name: str, asked: _Asked, silent: float) -> None:
        self._log.warning("actor_replaced", actor=name, silent_s=round(silent))
        asked.replaced = (time.monotonic(), f"did not answer for {silent:.0f} s: replaced")
        asked.answer = None
        if asked.process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                asked.process.kill()  # psutil makes sure that the pid is still this process; Ray builds the actor anew
        else:
            handles.restart(name)


def where(_actor: object) -> tuple[str, int]:
    """Return the node and the process of the actor that this is called in."""
    return str(ray.get_runtime_context().get_node_id()), os.getpid()


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
