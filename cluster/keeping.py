"""Sees to it that an app on a Ray of our own has a keeper (cluster/keeper.py): `raytide up` starts one, the supervisor another.

Keeper and supervisor look after each other, so that either may die.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import structlog

from cluster.config import STATE_FOLDER
from cluster.running import Running, alone_at_once
from cluster.stack.process import ProcessId, alive, spawn, stop

STOP_SECONDS = 1.0

log = structlog.get_logger(__name__)


def kept(running: Running, folder: Path, environment: Mapping[str, str] = os.environ) -> Running:
    """Return an app with its keeper, started with `environment` unless it lives; on somebody else's Ray it has none."""
    if running.head is None or (running.keeper is not None and alive(running.keeper)):
        return running
    output = folder.resolve() / STATE_FOLDER / "logs" / "keeper.log"
    return replace(running, keeper=spawn([sys.executable, "-m", "cluster.keeper"], folder, output, environment))


class KeeperWatch:
    """Starts another keeper for the app of `folder` when the one that `raytide up` started has died. Caller: one thread.

    The other one gets the environment of the first, which may hold configuration, and not that of a Ray worker, in which a new
    Ray would find no GPU, say. It is learnt while the first lives: of one that died before, only `raytide up` makes another.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: ProcessId | None = None
        self._environment: dict[str, str] = {}

    def look(self) -> None:
        """Do nothing while the keeper lives, or somebody starts or stops the app. What fails is tried at the next look."""
        try:
            running = Running.read(self._folder)
            if running is None or running.keeper is None:
                return
            if alive(running.keeper):
                self._learn(running.keeper)
            elif running.keeper == self._known:
                self._replace(running.keeper)
        except OSError as error:  # such as a full disk
            log.warning("keeper_not_replaced", error=str(error))

    def _learn(self, keeper: ProcessId) -> None:
        if keeper != self._known:
            try:
                self._environment, self._known = psutil.Process(keeper.pid).environ(), keeper
            except psutil.Error as error:  # it ends right now, or belongs to another user
                log.warning("keeper_unknown", error=str(error))

    def _replace(self, dead: ProcessId) -> None:
        with alone_at_once(self._folder) as is_alone:
            running = Running.read(self._folder) if is_alone else None
            if running is None or not running.is_up or running.keeper != dead:
                return
            again = kept(running, self._folder, self._environment)
            if again.keeper is None:
                return
            try:
                again.write(self._folder)
            except OSError:  # nobody would know of it, and the next look would start one more
                stop([again.keeper], STOP_SECONDS)
                raise
            log.warning("keeper_replaced", died=dead.pid)
