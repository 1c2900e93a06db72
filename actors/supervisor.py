"""Keeps one partition actor for each partition of each source, finds new partitions, and answers for all of them.

It is the only one of its kind, so it also watches the online store and fills it again when it was emptied.

Ray restarts a dead actor by itself; the supervisor creates those that are missing and replaces those that were fenced.
It holds no state that its own restart could lose: actors are found by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from actors import handles
from actors.clients import WriterClient
from actors.gauges import Gauges
from actors.metrics import RayMetrics
from actors.partition import Partition
from actors.reading import ReadingGateways
from actors.spare import Spares
from actors.spreading import Spreading
from actors.switching import Switching
from actors.watch import AnswerWatch
from actors.windows import WindowKeeper
from cluster.app import App
from cluster.clock import now_us
from cluster.errors import RaytideError, RetryLater, Unreachable
from cluster.ingest.stream import Progress, State
from cluster.keeping import KeeperWatch
from cluster.monitoring.lag import Lag
from cluster.rebuild import Mark, OnlineWatch, Parts
from cluster.registry.catalog import Catalog
from cluster.registry.definitions import StreamSource
from cluster.status import OnlineReport, PartitionReport, unknown_partition
from cluster.stores.kafka_admin import KafkaAdmin
from cluster.stores.redis import RedisOnlineStore
from cluster.telemetry import set_up_logs

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 3.0
SETTLE_SECONDS = 0.1  # between looks at batches in flight, while the online store is rebuilt

Key = tuple[str, int]


class Supervisor:
    """Looks every two seconds from construction on. Other calls answer at once."""

    def __init__(self, app: App) -> None:
        set_up_logs(app.config.telemetry, actor=handles.SUPERVISOR)
        self._app, self._lag = app, Lag()
        metrics = RayMetrics()
        self._switching, self._spreading, self._reading = Switching(app), Spreading(), ReadingGateways(app)
        self._log = structlog.get_logger()
        self._admin: KafkaAdmin | None = None
        self._counts: dict[str, int] = {}
        self._progress: dict[Key, Progress] = {}
        self._ends: dict[Key, int] = {}
        self._note, self._kafka_away = "", False
        is_ours = app.config.ray.address == "local"
        self._spares = Spares() if is_ours else None  # other Rays end idle workers
        self._keeper = KeeperWatch(Path(app.folder)) if is_ours else None
        self._stop, self._looked, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, name=handles.SUPERVISOR, daemon=True)
        self._thread.start()
        self._online = RedisOnlineStore(app.redis_url, app.config.online_store, metrics)
        parts = Parts(WriterClient(), self._online, lambda: self._switching.online_names() or (), _in_flight, self._pause)
        self._watch = OnlineWatch(parts, self._stop.is_set)
        self._windows = WindowKeeper(self._online.windows, self._known_catalog, self._stop, metrics)
        self._watching = threading.Thread(target=self._watch_online, name="online-watch", daemon=True)
        self._watching.start()
        self._answers = AnswerWatch(_others, app.config.ray.unresponsive_s, self._stop, metrics)
        gauges = Gauges(self.partitions, self.online, metrics)
        threading.Thread(target=gauges.run, args=(self._stop,), name="gauges", daemon=True).start()

    def __repr__(self) -> str:
        return handles.SUPERVISOR

    def partitions(self) -> list[PartitionReport]:
        """Return what every known partition said when last asked, in topic and partition order."""
        self._looked.wait(handles.CALL_SECONDS / 2)
        notes = self._answers.notes()
        sources = self._switching.catalog().stream_sources
        known = {(source.topic, n): Progress() for source in sources for n in range(self._counts.get(source.topic, 0))}
        missing = [self._missing(source) for source in sources if source.topic not in self._counts]
        return missing + [self._status(key, progress, notes) for key, progress in sorted({**known, **self._progress}.items())]

    def look_now(self) -> None:
        """Look at once for definitions that were just applied."""
        self._wake.set()

    def notes(self) -> dict[str, str]:
        """Return one sentence for each actor that does not answer, by name."""
        return self._answers.notes()

    def online(self) -> OnlineReport:
        """Return what is known of the online store."""
        report, note = self._watch.report, self._windows.note
        return replace(report, note="; ".join(part for part in (report.note, note) if part))

    def resume(self, topic: str, partition: int, allowed_rejects: int) -> PartitionReport:
        """Let a HALTED partition go on; raise NotFound when there is none, Refused when it is not halted."""
        key = (topic, partition)
        if key not in self._progress:
            raise unknown_partition(key, self._progress)
        remote = handles.Remote(handles.partition_name(*key), ANSWER_SECONDS)
        remote.call("resume", allowed_rejects)
        self._progress[key] = remote.call("status")
        return self._status(key, self._progress[key], {})

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
                self._note, self._kafka_away = "", False
            except RaytideError as error:
                self._note, self._kafka_away = str(error), isinstance(error, Unreachable)
                self._log.warning("look_failed", note=self._note)
                self._close_admin()
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("look_failed")
                self._close_admin()
            self._looked.set()
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
        self._close_admin()

    def _watch_online(self) -> None:
        while not self._stop.is_set():
            if self._switching.online_names() is None:
                self._pause()
                continue
            before = self._watch.report.state
            try:
                self._watch.look()
            except Exception:  # noqa: BLE001 - whatever it was, the next look may work, and there is nobody else
                self._log.exception("online_look_failed")
            if (report := self._watch.report).state is not before:
                self._log.info("online_store", state=str(report.state), note=report.note, entities=report.entities_done)
            self._stop.wait(LOOK_SECONDS)
        self._online.close()

    def _known_catalog(self) -> Catalog | None:
        return None if self._switching.online_names() is None else self._switching.catalog()

    def _pause(self) -> None:
        self._stop.wait(SETTLE_SECONDS)

    def _look(self) -> None:
        self._switching.look()
        self._ask_all()  # first: partitions that run are known even while Kafka is away
        if self._spares and self._all_started():
            self._spares.keep()
        if self._keeper:
            self._keeper.look()
        self._reading.look()
        self._switching.tell(self._progress)
        self._spread()
        sources = self._switching.catalog().stream_sources
        if self._switching.asked:
            self._end_all_but(frozenset(source.topic for source in sources))
        admin = self._admin = self._admin or KafkaAdmin(self._app.config.kafka, self._app.bootstrap)
        for source in sources:
            count = admin.partitions_of(source.topic)
            # One that was there is not made again: a person decides what becomes of what it held.
            if count is None and self._app.config.kafka.create_topics and source.topic not in self._counts:
                admin.create_topic(source.topic, source.partitions)
                count = admin.partitions_of(source.topic)
            if count is not None:
                self._counts[source.topic] = count
                self._ensure(source, count)
        self._ends = admin.ends(list(self._counts))
        self._lag.look(self._progress, self._ends, now_us())

    def _spread(self) -> None:
        """Let partitions that are too many on their node go; `_ensure` makes them where there are fewest."""
        if self._spreading.look():
            for key in self._spreading.end_surplus(self._progress):
                del self._progress[key]

    def _end_all_but(self, topics: frozenset[str]) -> None:
        """End the partitions of topics that no source reads any more, once what they had in flight is committed."""
        for name in [name for name in handles.names() if name.startswith("partition:") and _topic_of(name) not in topics]:
            handles.quietly(partial(handles.Remote(name, ANSWER_SECONDS).call, "drain", ANSWER_SECONDS / 2), None)
            handles.kill(name)
        self._progress = {key: progress for key, progress in self._progress.items() if key[0] in topics}
        self._counts = {topic: count for topic, count in self._counts.items() if topic in topics}

    def _ensure(self, source: StreamSource, count: int) -> None:
        """Make the actors that are missing, a few at a time: each start takes a processor for seconds."""
        running = handles.names()
        for partition in range(count):
            name = handles.partition_name(source.topic, partition)
            if (source.topic, partition) not in self._progress and (
                name in running or self._spreading.may_start(self._progress)
            ):
                node, strategy = self._spreading.strategy(self._progress)
                handles.ensure(Partition, name, self._app, source, partition, max_concurrency=4, scheduling_strategy=strategy)
                self._progress[source.topic, partition] = Progress(node=node)

    def _ask_all(self) -> None:
        keys = sorted(self._progress)
        remotes = [handles.Remote(handles.partition_name(*key), ANSWER_SECONDS) for key in keys]
        started = [handles.quietly(partial(remote.start, "status"), None) for remote in remotes]
        deadline = time.monotonic() + ANSWER_SECONDS  # for all together: a frozen node may have many of them
        for key, ref in zip(keys, started, strict=True):
            self._take(key, ref, max(0.0, deadline - time.monotonic()))

    def _all_started(self) -> bool:
        """Return whether no actor is being built that would take a spare worker before it is spare."""
        return self._looked.is_set() and all(p.state not in (State.STARTING, State.AWAY) for p in self._progress.values())

    def _take(self, key: Key, ref: Any, seconds: float) -> None:
        name = handles.partition_name(*key)
        try:
            self._progress[key] = handles.value(ref, name, seconds) if ref else self._progress[key]
        except RetryLater as error:
            self._progress[key] = replace(self._progress[key], state=State.AWAY, note=str(error))
        if handles.find(name) is None:
            del self._progress[key]  # the next look creates it
        elif self._progress[key].state is State.FENCED:
            # Only one actor has this name, so what fenced it is gone: a fresh one takes the next epoch.
            handles.kill(name)
            del self._progress[key]

    def _status(self, key: Key, progress: Progress, notes: Mapping[str, str]) -> PartitionReport:
        return PartitionReport(
            topic=key[0],
            partition=key[1],
            # A partition needs longer to tell a broker that is gone from a topic that is idle.
            state=str(State.PAUSED if self._kafka_away and progress.state is State.RUNNING else progress.state),
            note="; ".join(note for note in (progress.note, notes.get(handles.partition_name(*key))) if note) or self._note,
            actor=handles.partition_name(*key),
            epoch=progress.epoch,
            next_offset=progress.committed if progress.committed >= 0 else None,
            end_offset=self._ends.get(key),
            events=progress.events,
            rejected=progress.rejected,
            in_flight=progress.in_flight,
            registry_version=progress.registry_version,
            lag_seconds=self._lag.seconds(key, progress, self._ends.get(key), now_us()),
        )

    def _missing(self, source: StreamSource) -> PartitionReport:
        note = self._note or f"topic {source.topic} does not exist (yet): create it, or set kafka.create_topics"
        return PartitionReport(topic=source.topic, partition=0, state=str(State.WAITING), note=note)

    def _close_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None


def _others() -> list[str]:
    """Return the actors that the supervisor watches: all but itself, which the gateway does."""
    return [name for name in handles.names() if name != handles.SUPERVISOR]


def _topic_of(partition: str) -> str:
    """Undo handles.partition_name."""
    return partition.split(":")[1]


def _in_flight(keys: Iterable[Key]) -> dict[Key, Mark]:
    """Ask partition actors how far they have read; see cluster.rebuild.Parts."""
    answers = ((key, _read_by(handles.partition_name(*key))) for key in keys)
    return {key: mark for key, mark in answers if mark is not None}


def _read_by(name: str) -> Mark | None:
    if handles.find(name) is None:
        return Mark(-1, 0)
    progress: Progress | None = handles.quietly(lambda: handles.Remote(name, ANSWER_SECONDS).call("status"), None)
    return Mark(progress.epoch, progress.read) if progress is not None and progress.epoch else None
